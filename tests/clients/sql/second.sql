ALTER TABLE pupils ADD COLUMN born date;
DROP TABLE marks;
CREATE TABLE teachers (id integer PRIMARY KEY);
