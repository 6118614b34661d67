// `prisma migrate deploy` as in ../prisma.config.mjs. The driver connects by what PGHOST and the like say.
import { PrismaPg } from '@prisma/adapter-pg'
import { defineConfig } from 'prisma-6/config'

export default defineConfig({
  experimental: { adapter: true },
  engine: 'js',
  schema: 'migrations.prisma',
  migrations: { path: 'migrations' },
  adapter: async () => new PrismaPg({ options: '-c search_path=shared' }, { schema: 'shared' }),
})
