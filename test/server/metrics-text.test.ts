/** What `/metrics` says is what Prometheus reads: its text format, to the letter. */
import { describe, expect, it } from "vitest";
import { Metrics } from "../../broker/src/server/metrics.ts";
import { Counter, gaugeText, Histogram } from "../../broker/src/server/metrics-text.ts";

const LINE =
  /^escrowmq_[a-z_]+(\{[a-z]+="[A-Za-z0-9_.+-]*"(,[a-z]+="[A-Za-z0-9_.+-]*")*\})? -?[0-9.e+-]+$/;

describe("the text of metrics", () => {
  it("shows a counter from the start, and one with labels by their values", () => {
    const plain = new Counter("sends_total", "Sends");
    expect(plain.text()).toBe(
      "# HELP escrowmq_sends_total Sends\n# TYPE escrowmq_sends_total counter\nescrowmq_sends_total 0\n",
    );
    const labelled = new Counter("verdicts_total", "Decided", "verdict", "by");
    labelled.add(1, "commit producer");
    labelled.add(2, "rollback operator");
    labelled.add(1, "commit producer");
    expect(labelled.text().split("\n").slice(2)).toEqual([
      'escrowmq_verdicts_total{verdict="commit",by="producer"} 2',
      'escrowmq_verdicts_total{verdict="rollback",by="operator"} 2',
      "",
    ]);
  });

  it("shows a gauge as one number, or as one for each value of its label", () => {
    expect(gaugeText("ready", "Ready", 3)).toContain("\nescrowmq_ready 3\n");
    const parts = gaugeText(
      "bytes",
      "Held",
      [["reading", 1] as const, ["asking", 0] as const],
      "part",
    );
    expect(parts).toContain(
      '\nescrowmq_bytes{part="reading"} 1\nescrowmq_bytes{part="asking"} 0\n',
    );
  });

  it("counts in each bucket of a histogram what is in those before it, too, and a bound in its own", () => {
    const seconds = new Histogram("write_seconds", "Writes", [0.5, 1]);
    for (const value of [0.25, 0.5, 0.75, 8]) seconds.observe(value);
    expect(seconds.text().split("\n").slice(2)).toEqual([
      'escrowmq_write_seconds_bucket{le="0.5"} 2',
      'escrowmq_write_seconds_bucket{le="1"} 3',
      'escrowmq_write_seconds_bucket{le="+Inf"} 4',
      "escrowmq_write_seconds_sum 9.5",
      "escrowmq_write_seconds_count 4",
      "",
    ]);
  });

  it("says of each metric what it is, once, before its lines", () => {
    const figures = new Proxy({ memory: { reading: 1 } } as never, {
      get: (known, name) => Reflect.get(known, name) ?? 7,
    });
    const text = new Metrics(() => figures).text();
    const names: string[] = [];
    for (const line of text.split("\n")) {
      const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
      if (type?.[1] !== undefined) names.push(type[1]);
      else if (line !== "" && !line.startsWith("# HELP ")) {
        expect(line).toMatch(LINE);
        expect(line.startsWith(names.at(-1) ?? "nothing")).toBe(true);
      }
    }
    expect(new Set(names).size).toBe(names.length);
    expect(names.length).toBeGreaterThan(30);
  });
});
