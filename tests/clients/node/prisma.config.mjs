// `prisma migrate deploy` without an engine of machine code: Prisma 6 has one that is WebAssembly inside its npm package and
// connects by an adapter. It is given what DATABASE_URL says.
import { readFileSync } from 'node:fs'
import { PrismaPg } from '@prisma/adapter-pg'
import { defineConfig } from 'prisma-6/config'

const url = new URL(process.env.DATABASE_URL)
const [, database] = url.pathname.split('/')
const connection = {
  host: url.hostname,
  port: Number(url.port),
  database,
  user: url.username,
  password: url.password,
  ssl: { ca: readFileSync(url.searchParams.get('sslcert')) },
}

export default defineConfig({
  experimental: { adapter: true },
  engine: 'js',
  schema: 'migrations.prisma',
  migrations: { path: 'migrations' },
  adapter: async () => new PrismaPg(connection, { schema: url.searchParams.get('schema') }),
})
