import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["tests/**/*.test.mjs"],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // Every file starts servers of its own, and some measure time.
    fileParallelism: false,
  },
})
