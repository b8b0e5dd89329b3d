/** How bugs are planted into an engine from outside. */
import { Engine } from "../../../broker/src/core/engine.ts";
import type { Policy } from "../../../broker/src/core/policy.ts";
import type { LogRecord } from "../../../broker/src/core/records.ts";
import type { Input, Ready } from "../../../broker/src/core/types.ts";
import type { WorldOptions } from "../world.ts";

export type Planted = Readonly<Record<string, WorldOptions>>;

type PlainFrame = Extract<Input, { readonly kind: "frame" }>["frame"];
type Step = (input: Input, nowMs: number) => Ready;

export class MutantEngine extends Engine {
  readonly #around: (step: Step, input: Input, nowMs: number) => Ready;

  constructor(policy: Policy, around: (step: Step, input: Input, nowMs: number) => Ready) {
    super(policy);
    this.#around = around;
  }

  override step(input: Input, nowMs: number, isMoreComing?: boolean): Ready {
    return this.#around((one, atMs) => super.step(one, atMs, isMoreComing), input, nowMs);
  }
}

/** Every step goes through `around`, which may change what goes in and what comes out. */
export const steps = (
  around: (engine: Engine, step: Step, input: Input, nowMs: number) => Ready,
): WorldOptions => ({
  newEngine: (policy) => {
    const engine: Engine = new MutantEngine(policy, (step, input, nowMs) =>
      around(engine, step, input, nowMs),
    );
    return engine;
  },
});

/** Every record is applied through `around`, live and at recovery alike. */
export const applies = (
  around: (engine: Engine, apply: (record: LogRecord) => void, record: LogRecord) => void,
): WorldOptions => ({
  newEngine: (policy) => {
    const engine = new Engine(policy);
    const { state } = engine.core;
    const apply = state.apply.bind(state);
    Object.assign(state, { apply: (record: LogRecord) => around(engine, apply, record) });
    return engine;
  },
});

export const patched = (patch: (engine: Engine) => void): WorldOptions => ({
  newEngine: (policy) => {
    const engine = new Engine(policy);
    patch(engine);
    return engine;
  },
});

/** Recovery reads other records; null: it passes over this one. */
export const replaying = (read: (record: LogRecord) => LogRecord | null): WorldOptions =>
  patched((engine) => {
    const replay = engine.replay.bind(engine);
    Object.assign(engine, {
      replay: (block: Parameters<typeof replay>[0]) => {
        const records = block.records.flatMap((record) => read(record) ?? []);
        replay({ ...block, records });
      },
    });
  });

export const withPolicy = (change: (policy: Policy) => Partial<Policy>): WorldOptions => ({
  newEngine: (policy) => new Engine({ ...policy, ...change(policy) }),
});

export const verdictOf = (input: Input) =>
  input.kind === "frame" && input.frame.type === "verdict" ? input.frame : null;

/** Swaps a request for another one, on its way to the engine. */
export const framed = (rewrite: (frame: PlainFrame) => PlainFrame): WorldOptions =>
  rewritten((_, input) =>
    input.kind === "frame" ? { ...input, frame: rewrite(input.frame) } : input,
  );

/** Swaps what a request names, on its way to the engine. */
export const rewritten = (rewrite: (engine: Engine, input: Input) => Input): WorldOptions =>
  steps((engine, step, input, nowMs) => step(rewrite(engine, input), nowMs));
