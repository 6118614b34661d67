-- CreateSchema
CREATE SCHEMA IF NOT EXISTS "Courses";

-- CreateSchema
CREATE SCHEMA IF NOT EXISTS "shared";

-- CreateEnum
CREATE TYPE "Courses"."Level" AS ENUM ('BEGINNER', 'ADVANCED');

-- CreateTable
CREATE TABLE "shared"."School" (
    "id" SERIAL NOT NULL,
    "name" TEXT NOT NULL,

    CONSTRAINT "School_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "Courses"."Lesson" (
    "id" SERIAL NOT NULL,
    "title" VARCHAR(100) NOT NULL,
    "level" "Courses"."Level" NOT NULL DEFAULT 'BEGINNER',
    "schoolId" INTEGER NOT NULL,

    CONSTRAINT "Lesson_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "School_name_key" ON "shared"."School"("name");

-- CreateIndex
CREATE INDEX "Lesson_title_idx" ON "Courses"."Lesson"("title");

-- AddForeignKey
ALTER TABLE "Courses"."Lesson" ADD CONSTRAINT "Lesson_schoolId_fkey"
    FOREIGN KEY ("schoolId")
    REFERENCES "shared"."School"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

