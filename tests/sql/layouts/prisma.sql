-- What Prisma makes with multiSchema: names as in the models, an enum, text keys, and foreign keys between schemas, of
-- which one is adopted.
CREATE TABLE "_prisma_migrations" ("id" VARCHAR(36) PRIMARY KEY NOT NULL, "checksum" VARCHAR(64) NOT NULL,
    "migration_name" VARCHAR(255) NOT NULL);
CREATE SCHEMA "auth";
CREATE SCHEMA "Courses";
SET search_path = shared;
CREATE TABLE "auth"."Account" ("id" TEXT NOT NULL, "email" TEXT NOT NULL, CONSTRAINT "Account_pkey" PRIMARY KEY ("id"));
CREATE UNIQUE INDEX "Account_email_key" ON "auth"."Account"("email");
CREATE TYPE "Courses"."Level" AS ENUM ('BEGINNER', 'ADVANCED');
CREATE TABLE "Courses"."Course" ("id" SERIAL NOT NULL, "title" TEXT NOT NULL,
    "level" "Courses"."Level" NOT NULL DEFAULT 'BEGINNER',
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, "accountId" TEXT NOT NULL,
    CONSTRAINT "Course_pkey" PRIMARY KEY ("id"));
CREATE TABLE "Courses"."_CourseToTag" ("A" INTEGER NOT NULL, "B" TEXT NOT NULL,
    CONSTRAINT "_CourseToTag_AB_pkey" PRIMARY KEY ("A","B"));
CREATE INDEX "_CourseToTag_B_index" ON "Courses"."_CourseToTag"("B");
ALTER TABLE "Courses"."Course" ADD CONSTRAINT "Course_accountId_fkey" FOREIGN KEY ("accountId")
    REFERENCES "auth"."Account"("id") ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "Courses"."_CourseToTag" ADD CONSTRAINT "_CourseToTag_A_fkey" FOREIGN KEY ("A")
    REFERENCES "Courses"."Course"("id") ON DELETE CASCADE ON UPDATE CASCADE;
INSERT INTO "auth"."Account" VALUES ('a1', 'ada@example.org');
INSERT INTO "Courses"."Course" ("title", "accountId") VALUES ('Sums', 'a1');
INSERT INTO "Courses"."_CourseToTag" VALUES (1, 'maths');
