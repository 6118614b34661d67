// Prisma 7, whose client connects by the driver `pg`: npm install @prisma/client @prisma/adapter-pg pg
import { readFileSync } from 'node:fs'
import pg from 'pg'
import { PrismaPg } from '@prisma/adapter-pg'
import { PrismaClient } from './generated/client.js'

const read = (key: string) => readFileSync(`/etc/acme-db/${key}`, 'utf8')

// Each connection takes the login that is in the Secret when it is made. One file, so that login and password belong
// together also in the moment in which the Secret changes.
class Client extends pg.Client {
  constructor(config?: pg.ClientConfig) {
    const { username, password } = new URL(read('uri'))
    super({ ...config, user: username, password })
  }
}

const adapter = new PrismaPg(
  {
    host: read('host'),
    port: Number(read('port')),
    database: read('database'),
    // The server's certificate and the name in it are verified. The `sslmode` of a connection string would override
    // this, so there is none.
    ssl: { ca: read('ca.crt') },
    max: 5,
    // Shorter than rotationGraceSeconds, so that connections of the former login are over before it is closed.
    maxLifetimeSeconds: 600,
    Client,
  },
  // Prisma writes a schema's name into every statement: `public`, unless it is told another one. It ignores search_path.
  { schema: read('schema') },
)

export const prisma = new PrismaClient({ adapter })
