// A strict reader of Prometheus' text format 0.0.4: stricter than Prometheus, so that whatever it
// takes, others take too. https://prometheus.io/docs/instrumenting/exposition_formats/

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*"
const VALUE = String.raw`[+-]?(?:\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|Inf)|NaN`
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(.*)\\})? (${VALUE})$`)
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/y
const SUFFIXES = { histogram: ["_bucket", "_sum", "_count"], counter: [""], gauge: [""] }

const number = (text) => (text.endsWith("Inf") ? Infinity * (text.startsWith("-") ? -1 : 1) : Number(text))

function labelsIn(text) {
  const labels = {}
  LABEL.lastIndex = 0
  while (LABEL.lastIndex < text.length) {
    const at = LABEL.lastIndex
    const found = LABEL.exec(text)
    if (!found) throw new Error(`labels at ${at} of ${text}`)
    if (found[1] in labels) throw new Error(`label twice: ${text}`)
    labels[found[1]] = found[2]
  }
  return labels
}

/**
 * The families of `text` by name: `{ type, help, samples: [{ name, labels, value }] }`. Throws on
 * anything that is not exactly as the format has it.
 */
export function parseExposition(text) {
  if (!text.endsWith("\n")) throw new Error("the last line does not end")
  const families = new Map()
  const seen = new Set()
  let family
  for (const line of text.slice(0, -1).split("\n")) {
    const help = line.match(new RegExp(`^# HELP (${NAME}) (\\S.*)$`))
    const type = line.match(new RegExp(`^# TYPE (${NAME}) (counter|gauge|histogram)$`))
    if (help) {
      if (families.has(help[1])) throw new Error(`a family in two places: ${line}`)
      family = { name: help[1], help: help[2], samples: [] }
      families.set(help[1], family)
    } else if (type) {
      if (family?.name !== type[1] || family.type) throw new Error(`a type out of place: ${line}`)
      family.type = type[2]
    } else {
      const sample = line.match(SAMPLE)
      if (!sample) throw new Error(`no sample: ${line}`)
      const [, name, labels = "", value] = sample
      if (!family?.type || !SUFFIXES[family.type].some((suffix) => name === family.name + suffix)) {
        throw new Error(`a sample outside its family: ${line}`)
      }
      const key = `${name}{${labels}}`
      if (seen.has(key)) throw new Error(`a sample twice: ${line}`)
      seen.add(key)
      family.samples.push({ name, labels: labelsIn(labels), value: number(value) })
    }
  }
  for (const each of families.values()) check(each)
  return families
}

function check({ name, type, samples }) {
  if (samples.length === 0) throw new Error(`nothing in ${name}`)
  if (type === "counter" && !name.endsWith("_total")) throw new Error(`a counter without _total: ${name}`)
  if (type !== "gauge" && samples.some(({ value }) => !(value >= 0))) throw new Error(`below zero: ${name}`)
  if (type === "histogram") {
    const others = ({ le: _, ...labels }) => JSON.stringify(labels)
    for (const which of new Set(samples.map(({ labels }) => others(labels)))) {
      checkHistogram(name, samples.filter(({ labels }) => others(labels) === which))
    }
  }
}

function checkHistogram(name, samples) {
  const buckets = samples.filter((sample) => sample.name === `${name}_bucket`)
  const one = (suffix) => {
    const found = samples.filter((sample) => sample.name === name + suffix)
    if (found.length !== 1) throw new Error(`${found.length} ${suffix} in ${name}`)
    return found[0].value
  }
  const bounds = buckets.map(({ labels }) => number(labels.le))
  const rising = (values, may) => values.every((value, at) => at === 0 || values[at - 1] < value || (may && values[at - 1] === value))
  if (bounds.at(-1) !== Infinity || !rising(bounds, false)) throw new Error(`bounds of ${name}: ${bounds}`)
  if (!rising(buckets.map(({ value }) => value), true)) throw new Error(`buckets of ${name} are not cumulative`)
  if (buckets.at(-1).value !== one("_count")) throw new Error(`the count of ${name} is not its last bucket`)
  one("_sum")
}
