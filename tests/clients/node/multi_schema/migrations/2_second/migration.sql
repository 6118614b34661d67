-- AlterEnum
ALTER TYPE "Courses"."Level" ADD VALUE 'EXPERT';

-- AlterTable
ALTER TABLE "Courses"."Lesson" ALTER COLUMN "title" SET DATA TYPE VARCHAR(200);

-- CreateTable
CREATE TABLE "Courses"."Room" (
    "id" SERIAL NOT NULL,
    "lessonId" INTEGER NOT NULL,

    CONSTRAINT "Room_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "Room_lessonId_key" ON "Courses"."Room"("lessonId");

-- AddForeignKey
ALTER TABLE "Courses"."Room" ADD CONSTRAINT "Room_lessonId_fkey"
    FOREIGN KEY ("lessonId")
    REFERENCES "Courses"."Lesson"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

