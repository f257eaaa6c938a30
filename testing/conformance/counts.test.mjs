// A suite of which a part did not run is noticed, whatever kept it from running.

import assert from "node:assert/strict"
import test from "node:test"

import { count, EXPECTED, faultsOf } from "./counts.mjs"

/** A report of a run in which all went as expected, changed by `change`. */
function reportOf(change = () => {}) {
  const assertionResults = Array.from({ length: EXPECTED.total }, (_, n) => ({ fullName: `test ${n}`, status: "passed" }))
  change(assertionResults)
  return { testResults: [{ assertionResults }] }
}

const faults = (report) => faultsOf(report, count(report))

test("t96_a_suite_of_which_a_part_did_not_run_is_noticed", () => {
  assert.deepEqual(faults(reportOf()), [])
  const half = reportOf((all) => all.splice(EXPECTED.total / 2))
  assert.notDeepEqual(faults(half), [], "half is missing")
  const skipped = reportOf((all) => (all.at(-1).status = "skipped"))
  assert.notDeepEqual(faults(skipped), [], "one is skipped")
  assert.ok(faults(skipped).includes("skipped: test 337"), "and named")
  const failed = reportOf((all) => (all.at(-1).status = "failed"))
  assert.notDeepEqual(faults(failed), [], "one fails")
  const more = reportOf((all) => all.push(all.at(-1)))
  assert.notDeepEqual(faults(more), [], "one is unknown")
})
