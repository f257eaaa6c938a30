// How many tests of the suite ran, and what of that is not as it should be (T96).

// What version 0.3.6 of the suite holds, its group "Reserved subscription APIs" included.
export const EXPECTED = { total: 338, passed: 338, skipped: 0, failed: 0 }

function tests(report) {
  return report.testResults.flatMap((file) => file.assertionResults)
}

export function count(report) {
  const having = (...states) => tests(report).filter(({ status }) => states.includes(status)).length
  return {
    total: tests(report).length,
    passed: having("passed"),
    skipped: having("skipped", "pending", "todo", "disabled"),
    failed: having("failed"),
  }
}

export function faultsOf(report, counts) {
  const miscounted = Object.keys(EXPECTED)
    .filter((key) => counts[key] !== EXPECTED[key])
    .map((key) => `${counts[key]} ${key}, expected ${EXPECTED[key]}`)
  const failed = tests(report)
    .filter(({ status }) => status === "failed")
    .map((test) => `failed: ${test.fullName}`)
  const strangers = tests(report)
    .filter(({ status }) => status !== "passed" && status !== "failed")
    .map((test) => `skipped: ${test.fullName}`)
  return [...miscounted, ...failed, ...strangers]
}
