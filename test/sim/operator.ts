/** Somebody at the console: decides, resumes, replays, purges, resets, pauses, and sets endpoints. */
import type { Input } from "../../broker/src/core/types.ts";
import { Peer } from "./peer.ts";

type PlainFrame = Extract<Input, { readonly kind: "frame" }>["frame"];
type WithoutId<Frame> = Frame extends unknown ? Omit<Frame, "id"> : never;
type Request = WithoutId<Extract<PlainFrame, { readonly id: number }>>;

type Retention = Partial<
  Pick<
    Extract<PlainFrame, { readonly type: "topic.update" }>,
    "retentionMs" | "retentionBytes" | "unsettled"
  >
>;

const audit = { operator: "ann", reason: "simulated" } as const;

export class Operator extends Peer {
  protected override up(): void {
    return;
  }

  /** Topics, groups with short ladders, and the endpoint of the group without connections that check. */
  setUp(): void {
    const { world } = this;
    for (const topic of world.topics)
      this.#ask({ type: "topic.create", topic, ...this.#retention() }, true);
    for (const group of world.groups)
      this.#ask(
        {
          type: "group.update",
          group,
          leaseMs: world.random.pick([3_000, 10_000, 30_000]),
          attemptsMax: world.random.between(2, 6),
          retryDelaysMs: [200, 1_000, 5_000],
          jitterPercent: world.random.pick([0, 10]),
        },
        true,
      );
    this.request(
      (from, id) => ({
        kind: "setEndpoint",
        from,
        frame: { type: "producer.endpoint", id, group: "cron", ...audit },
        url: "https://checks.example/",
        secret: "5ec2e7",
      }),
      () => undefined,
      true,
    );
  }

  work(): void {
    const { world } = this;
    if (world.isQuiet) return;
    world.time.after(world.random.between(500, 10_000), () => this.work());
    const { random, auditor } = world;
    const { ledger } = auditor;
    const undecided = [...ledger.undecided.values()];
    const parked = undecided.filter(({ state }) => state === "parked");
    const group = random.pick(world.groups);
    const topic = random.pick(world.topics);
    const deadNo = ledger.topicNos.get(`%DLQ%${group}`);
    const dead = deadNo === undefined ? [] : [...ledger.topic(deadNo).origins.keys()];
    const act = random.weighted({
      decide: 2,
      resume: 3,
      check: 2,
      replay: 4,
      purge: 1,
      reset: 1,
      pause: 1,
      tune: 2,
      retain: 2,
      look: 2,
    });
    if (act === "decide" && undecided.length > 0) {
      const verdict = random.chance(0.5) ? "commit" : "rollback";
      this.#ask({ type: "tx.decide", transactionId: random.pick(undecided).id, verdict, ...audit });
    }
    if (act === "resume" && parked.length > 0)
      this.#ask({ type: "tx.resume", transactionId: random.pick(parked).id, ...audit });
    if (act === "check" && undecided.length > 0)
      this.#ask({ type: "tx.check", transactionId: random.pick(undecided).id, ...audit });
    if ((act === "replay" || act === "purge") && dead.length > 0) {
      const offsets = [random.pick(dead), random.pick(dead)];
      this.#ask({ type: `dlq.${act}`, group, offsets, ...audit });
    }
    if (act === "reset") {
      const from = random.chance(0.6) ? "offset" : "latest";
      const dryRun = random.chance(0.4);
      this.#ask({
        type: "group.reset",
        group,
        topic,
        from,
        at: random.below(20),
        dryRun,
        ...audit,
      });
    }
    if (act === "tune")
      this.#ask({
        type: "group.update",
        group,
        leaseMs: random.between(2_000, 30_000),
        attemptsMax: random.between(1, 8),
      });
    if (act === "retain") {
      const where = random.chance(0.2) && dead.length > 0 ? `%DLQ%${group}` : topic;
      this.#ask({ type: "topic.update", topic: where, ...this.#retention() });
    }
    if (act === "pause") this.#ask({ type: "topic.update", topic, paused: random.chance(0.3) });
    if (act === "look") {
      this.#ask({ type: "tx.list", limit: 5 });
      this.#ask({ type: "dlq.list", group });
      this.#ask({ type: "stats" });
    }
  }

  /** For ever, or so short that it meets everything else. */
  #retention(): Retention {
    const { random } = this.world;
    if (random.chance(0.3)) return {};
    return {
      retentionMs: random.pick([1_000, 5_000, 30_000, 600_000]),
      retentionBytes: random.pick([0, 0, 30, 200]),
      unsettled: random.chance(0.6) ? "keep" : "drop",
    };
  }

  /** So that the quiet phase can come to its end. */
  calm(): void {
    for (const topic of this.world.topics)
      this.#ask({ type: "topic.update", topic, paused: false }, true);
  }

  #ask(request: Request, isResent = false): void {
    this.request(
      (from, id) => ({ kind: "frame", from, frame: { ...request, id } as PlainFrame }),
      () => undefined,
      isResent,
    );
  }
}
