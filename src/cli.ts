#!/usr/bin/env node
// This file has no static imports: an old Node.js would fail on them before certwatch could print the reason.

/** The oldest version of Node.js that certwatch supports, as in `engines` of package.json. */
const oldest = { major: 20, minor: 19 };

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major > oldest.major || (major === oldest.major && minor >= oldest.minor)) {
  await import("./cli/main.ts");
} else {
  console.error(
    `certwatch needs Node.js ${oldest.major}.${oldest.minor} or later, this is ${process.versions.node}`,
  );
  process.exitCode = 2;
}

export {};
