import type { TestProject } from "vitest/node";
import { buildCertstreamServerGo } from "./certstream-server-go.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** Path of the server's binary; `null` where it cannot be built, and the tests skip. */
    certstreamServerGo: string | null;
  }
}

/** Builds the server once for all test files. Without `go`: a failure with CI=true, else a line at the end. */
export default async function setup(project: TestProject): Promise<() => void> {
  const binary = await buildCertstreamServerGo();
  const missing =
    "interop tests need `go` (1.25 or later) to build certstream-server-go; there is none in PATH";
  if (binary === null && process.env.CI === "true") throw new Error(missing);
  project.provide("certstreamServerGo", binary);
  return () => {
    if (binary === null) console.log(`SKIPPED: ${missing}`);
  };
}
