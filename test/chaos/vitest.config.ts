import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const isShort = process.env.CHAOS_SHORT === "1";

// CHAOS_SHORT=1: every kind of damage once, in minutes. CHAOS_SEED=<n>: the random choices of an earlier run.
// SOAK_MINUTES=<n>: how long the soak takes.
export default defineConfig({
  test: {
    root: fileURLToPath(new URL("../..", import.meta.url)),
    include: ["test/chaos/**/*.test.ts"],
    globalSetup: ["test/support/global-setup.ts", "test/chaos/support/setup.ts"],
    reporters: ["default", "./test/support/closing-line.ts"],
    // Nearly all of it is waiting. The long form, with its measurements, has the machine to itself.
    fileParallelism: isShort,
    maxWorkers: 2,
    // Of one file: tests that mostly wait.
    maxConcurrency: 10,
    testTimeout: isShort ? 600_000 : 900_000,
    hookTimeout: 300_000,
  },
});
