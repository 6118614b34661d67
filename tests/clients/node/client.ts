// Rows of a Prisma client, so many at once.
import { createInterface } from 'node:readline'
import { prisma } from './db.js'

const login = async () => {
  await prisma.pupil.create({ data: { id: Math.floor(Math.random() * 2 ** 31), name: 'Ada' } })
  const rows = await prisma.$queryRaw<{ login: string }[]>`
    SELECT current_user::text AS login FROM pg_stat_ssl, pg_sleep(0.3) WHERE pid = pg_backend_pid() AND ssl`
  return rows[0].login
}

for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log('answer:', ...(await Promise.all(Array.from({ length: Number(line) }, login))))
  } catch (error) {
    console.log('answer: error:', String(error).replaceAll(/\s+/g, ' '))
  }
}
process.exit()
