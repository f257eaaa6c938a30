// Server-sent events, parsed as the HTML standard says.

/** Splits what came so far into whole events `{ type, data, id }`; an incomplete tail is left out. */
export function parseEvents(text) {
  const whole = text.slice(0, text.lastIndexOf("\n\n") + 1)
  return whole
    .split("\n\n")
    .map(parseEvent)
    .filter((event) => event !== undefined)
}

function parseEvent(block) {
  const event = { type: "message", data: [], id: undefined }
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":")
    if (line === "" || colon === 0) continue
    const name = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "")
    if (name === "event") event.type = value
    if (name === "data") event.data.push(value)
    if (name === "id") event.id = value
  }
  if (event.data.length === 0) return undefined
  return { ...event, data: event.data.join("\n") }
}

/** The parsed control events among `events`. */
export const controls = (events) =>
  events.filter(({ type }) => type === "control").map(({ data }) => JSON.parse(data))

/** A JSON stream's messages among `events`. */
export const jsonMessages = (events) =>
  events.filter(({ type }) => type === "data").flatMap(({ data }) => JSON.parse(data))
