import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["test/interop/**", "test/chaos/**"],
    // All cores: one less is the default, which on two cores runs one file after another.
    maxWorkers: "100%",
    globalSetup: ["test/support/global-setup.ts"],
    reporters: ["default", "./test/support/closing-line.ts"],
    // Longer than any wait in a test (test/support/wait.ts), for which several may follow each other.
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
});
