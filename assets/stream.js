// Server-sent events of one answer, read from the response of a POST, which EventSource cannot do.

/** Calls `on[event](data)` for each event, in order. */
export async function readEvents(response, on) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    held += value;
    const events = held.split("\n\n");
    held = events.pop();
    for (const text of events) {
      let name = "message", data = "";
      for (const line of text.split("\n")) {
        if (line.startsWith("event:")) name = line.slice(6).trim();
        if (line.startsWith("data:")) data += line.slice(5).trimStart();
      }
      if (data) on[name]?.(JSON.parse(data));
    }
  }
}
