#!/usr/bin/env node
// This file imports nothing: an old Node.js fails on what certwatch imports, before it could say why.

/** As `engines` in package.json has it. */
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
