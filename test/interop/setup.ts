import type { TestProject } from "vitest/node";
import {
  buildCertificateTransparencyGo,
  type CertificateTransparencyGo,
} from "./certificate-transparency-go.ts";
import { buildCertstreamServerGo } from "./certstream-server-go.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** Path of the server's binary; `null` where it cannot be built, and the tests skip. */
    certstreamServerGo: string | null;
    /** `null` where it cannot be built, and the tests skip. */
    certificateTransparencyGo: CertificateTransparencyGo | null;
  }
}

/** Builds the programs once for all test files. Without `go`: a failure with CI=true, else a line at the end. */
export default async function setup(project: TestProject): Promise<() => void> {
  const binary = await buildCertstreamServerGo();
  const certificateTransparencyGo = await buildCertificateTransparencyGo();
  const isMissing = binary === null || certificateTransparencyGo === null;
  const missing =
    "interop tests need `go` (1.25 or later) to build what they compare with; there is none in PATH";
  if (isMissing && process.env.CI === "true") throw new Error(missing);
  project.provide("certstreamServerGo", binary);
  project.provide("certificateTransparencyGo", certificateTransparencyGo);
  return () => {
    if (isMissing) console.log(`SKIPPED: ${missing}`);
  };
}
