/** Prints `N passed, N failed, N skipped` as the run's last line, for continuous integration that reads plain text. */
interface TestCase {
  result(): { readonly state: string }
}
interface TestModule {
  readonly children: { allTests(): Iterable<TestCase> }
  /** 'failed' also where the file could not be loaded and so holds no test. */
  state(): string
}

export default class ClosingLine {
  /** A file that failed without a failed test of its own, and an error outside every test, count as one failed each. */
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[] = []): void {
    const count = { passed: 0, failed: errors.length, skipped: 0 }
    for (const module of modules) {
      const failedBefore = count.failed
      for (const test of module.children.allTests()) {
        const state = test.result().state
        if (state === 'passed' || state === 'failed' || state === 'skipped') count[state]++
      }
      if (module.state() === 'failed' && count.failed === failedBefore) count.failed++
    }
    console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`)
  }
}
