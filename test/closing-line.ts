/** Prints `N passed, N failed, N skipped` as the run's last line, for continuous integration that reads plain text. */
interface TestCase {
  result(): { readonly state: string }
}
interface TestModule {
  readonly children: { allTests(): Iterable<TestCase> }
}

export default class ClosingLine {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const count = { passed: 0, failed: 0, skipped: 0 }
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const state = test.result().state
        if (state === 'passed' || state === 'failed' || state === 'skipped') count[state]++
      }
    }
    console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`)
  }
}
