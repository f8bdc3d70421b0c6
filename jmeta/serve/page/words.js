// The JSON interface of the server, in words.

function sample(example) {
  if (example.image) return '"image": "BASE64 OF A PNG OR JPEG"';
  if (example.columns) {
    const cells = example.columns.map((name) => `${JSON.stringify(name)}: 0`);
    return `"x": {${cells.join(", ")}}`;
  }
  const zeros = example.shape.reduceRight((inner, size) => Array(Math.min(size, 2)).fill(inner), 0);
  return `"x": ${JSON.stringify(example.shape.length ? zeros : 0)}`;
}

// Commands for a model, and a sentence about its examples.
export function described(model) {
  const x = sample(model.example);
  const answers = model.kind === "classes" ? ['"label": "cat"', '"label": "owl"'] : ['"y": 1.5', '"y": 2.0'];
  const examples = answers.map((answer) => `{${answer}, ${x}}`).join(", ");
  const curl = (path, body) =>
    `curl -H 'Content-Type: application/json' ${location.origin}/${path} \\\n  -d '${body}'`;
  const commands = [
    curl("adapt", `{"examples": [${examples}]}`),
    curl("predict", `{"session": "…", "examples": [{${x}}]}`),
  ].join("\n\n");
  const shape = model.example.shape.join("×");
  const takes = model.example.columns
    ? `An example is a row with the columns ${model.example.columns.join(", ")}.`
    : `An example is ${shape || "a number"} numbers, in nested lists of that shape.`;
  return { commands, takes };
}
