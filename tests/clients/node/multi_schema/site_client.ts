// Adds a lesson of this title, in a room if one is asked for, and prints how many lessons there are.
import { PrismaPg } from '@prisma/adapter-pg'
import { PrismaClient } from './generated/client.js'

const [title, room] = process.argv.slice(2)
const prisma = new PrismaClient({ adapter: new PrismaPg({}) })
const school = await prisma.school.upsert({ where: { name: 'North' }, create: { name: 'North' }, update: {} })
const { id } = await prisma.lesson.create({ data: { title, level: 'ADVANCED', schoolId: school.id } })
if (room) await prisma.room.create({ data: { lessonId: id } })
console.log(await prisma.lesson.count({ where: { school: { name: 'North' } } }))
await prisma.$disconnect()
