/** Somebody at the console: decides, resumes, replays, purges, resets, pauses, skips, looks, and sets endpoints. */
import type { ClientFrames, FindView, ReplayView, SkipView } from "@escrowmq/protocol";
import type { Intervention } from "../history/history.ts";
import type { Find, Wanted } from "./finds.ts";
import { BROADCAST, readersOf } from "./kinds.ts";
import { Peer, type Reply, type Request } from "./peer.ts";
import { outcomeOf, toldBy } from "./trader.ts";

type Retention = Partial<
  Pick<ClientFrames["topic.update"], "retentionMs" | "retentionBytes" | "unsettled">
>;

const audit = { operator: "ann", reason: "simulated" } as const;

export class Operator extends Peer {
  readonly finds: Find[] = [];

  protected override up(): void {
    return;
  }

  /** Topics, groups with short ladders, and the endpoint of the group without connections that check. */
  setUp(): void {
    const { world } = this;
    for (const topic of world.topics)
      this.#ask({ type: "topic.create", topic, ...this.#retention() }, true);
    for (const group of [...world.groups, BROADCAST])
      this.#ask(
        {
          type: "group.update",
          group,
          leaseMs: world.random.pick([3_000, 10_000, 30_000]),
          attemptsMax: world.random.between(2, 6),
          retryDelaysMs: [200, 1_000, 5_000],
          jitterPercent: world.random.pick([0, 10]),
          ordered: world.kinds.orderOf(group) === "always",
        },
        true,
      );
    const url = "https://checks.example/";
    this.#ask({ type: "producer.endpoint", group: "cron", url, ...audit }, true);
  }

  work(): void {
    const { world } = this;
    if (!world.isBusy) return;
    world.time.after(world.random.between(500, 10_000), () => this.work());
    const { random, auditor } = world;
    const { ledger } = auditor;
    const undecided = [...ledger.undecided.values()];
    const parked = undecided.filter(({ state }) => state === "parked");
    const group = random.pick(world.groups);
    const topic = random.pick(world.topics);
    // Its dead letters aside, what can be done to a group can be done to one that is broadcast to, or to its instances.
    const any = random.pick([...world.groups, BROADCAST]);
    const reader = random.pick(readersOf(any));
    const deadNo = ledger.topicNos.get(`%DLQ%${group}`);
    const dead = deadNo === undefined ? [] : [...ledger.topic(deadNo).origins.keys()];
    const act = random.weighted({
      decide: 2,
      resume: 3,
      check: 2,
      replay: 4,
      purge: 1,
      reset: 2,
      pause: 1,
      pauseGroup: 3,
      skip: 2,
      tune: 2,
      retain: 2,
      look: 4,
    });
    this.#decideForOthers();
    if (act === "decide" && undecided.length > 0) {
      this.#decide(random.pick(undecided).id, random.pick(["commit", "rollback"]));
    }
    if (act === "resume" && parked.length > 0)
      this.#ask({ type: "tx.resume", transactionId: random.pick(parked).id, ...audit });
    if (act === "check" && undecided.length > 0)
      this.#ask({ type: "tx.check", transactionId: random.pick(undecided).id, ...audit });
    if ((act === "replay" || act === "purge") && dead.length > 0)
      this.#endDeadLetters(act, group, [random.pick(dead), random.pick(dead)]);
    if (act === "reset") this.#reset(reader, topic);
    if (act === "tune")
      this.#ask({
        type: "group.update",
        group: any,
        leaseMs: random.between(2_000, 30_000),
        attemptsMax: random.between(1, 8),
        ordered: world.kinds.orderNow(any),
      });
    if (act === "retain") {
      const where = random.chance(0.2) && dead.length > 0 ? `%DLQ%${group}` : topic;
      this.#ask({ type: "topic.update", topic: where, ...this.#retention() });
    }
    if (act === "pause") this.#ask({ type: "topic.update", topic, paused: random.chance(0.3) });
    if (act === "pauseGroup") this.#pauseGroup(any);
    if (act === "skip") this.#skip(reader, topic);
    if (act === "look") {
      this.#ask({ type: "tx.list", limit: 5 });
      this.#ask({ type: "dlq.list", group });
      this.#ask({ type: "stats" });
      this.#look(topic);
    }
  }

  /** Whatever the answers are, they come, and disturb nothing. */
  #look(topic: string): void {
    const { random } = this.world;
    const offset = random.below(20);
    this.#ask({ type: "message.show", topic, offset });
    this.#ask({ type: "message.trace", topic, offset });
    this.#find(topic);
    this.#ask({ type: "doctor" });
  }

  #find(topic: string): void {
    const { random, brokerMs } = this.world;
    const wanted: Wanted = {
      ...(random.chance(0.2) ? { messageId: `m-${random.below(300)}` } : {}),
      ...(random.chance(0.3) ? { key: "ann" } : {}),
      ...(random.chance(0.3) ? { tag: "red" } : {}),
      ...(random.chance(0.3) ? { sinceMs: brokerMs - random.below(60_000) } : {}),
      ...(random.chance(0.3) ? { beforeMs: brokerMs - random.below(30_000) } : {}),
    };
    this.#ask(
      { type: "message.find", topic, ...wanted, limit: random.between(1, 50) },
      false,
      (reply) => {
        if (reply?.type === "ok") this.finds.push({ topic, wanted, view: reply.value as FindView });
      },
    );
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
    for (const group of [...this.world.groups, BROADCAST]) this.#resumeGroup(group, true);
    for (const topic of this.world.topics)
      this.#ask({ type: "topic.update", topic, paused: false }, true);
    for (let times = 5; times > 0; times--) this.#decideForOthers(0.7);
  }

  #ask(
    request: Request,
    isResent = false,
    done: (reply: Reply | null) => void = () => undefined,
  ): void {
    this.request(request, done, isResent);
  }

  #decide(transactionId: string, verdict: "commit" | "rollback"): void {
    const { history } = this.world;
    const operation = history.verdict(transactionId, verdict);
    this.#ask({ type: "tx.decide", transactionId, verdict, ...audit }, false, (reply) => {
      operation.told = toldBy(reply);
      history.ended(operation, outcomeOf(reply));
    });
  }

  /** Messages of others wait for it, and nobody says. */
  #decideForOthers(share?: number): void {
    const { reserving, auditor, random } = this.world;
    const id = reserving.toDecide(auditor.ledger.schedule.keys, share);
    if (id !== null) this.#decide(id, random.pick(["commit", "rollback"]));
  }

  #endDeadLetters(act: "replay" | "purge", group: string, offsets: readonly number[]): void {
    const { ledger } = this.world.auditor;
    const no = ledger.topicNos.get(`%DLQ%${group}`) ?? 0;
    const { history } = this.world;
    const all = new Map<number, Intervention>();
    for (const offset of new Set(offsets)) {
      const origin = ledger.topic(no).origins.get(offset);
      if (origin === undefined) continue;
      const { name } = ledger.topic(origin.topicNo);
      all.set(offset, history.intervenes(act, group, name, origin.offset));
    }
    const request = { type: `dlq.${act}`, group, offsets: [...offsets], ...audit } as const;
    this.#ask(request, false, (reply) => {
      const missing = reply?.type === "ok" ? (reply.value as ReplayView).missing : [];
      // What is named twice is done once, and missing then.
      const isDone = (offset: number): boolean =>
        timesIn(offsets, offset) > timesIn(missing, offset);
      for (const [offset, one] of all)
        history.ended(one, isDone(offset) ? outcomeOf(reply) : "fail");
    });
  }

  #reset(group: string, topic: string): void {
    const { random, history, topics } = this.world;
    const isOfAll = random.chance(0.3);
    const from = isOfAll
      ? "time"
      : random.pick(["offset", "offset", "latest", "earliest", "time"] as const);
    const dryRun = random.chance(0.4);
    const moved = isOfAll ? topics : [topic];
    const all = dryRun ? [] : moved.map((one) => history.intervenes("reset", group, one));
    const at = from === "time" ? this.world.brokerMs - random.below(60_000) : random.below(20);
    const where = isOfAll ? {} : { topic };
    const request = { type: "group.reset", group, ...where, from, at, dryRun, ...audit } as const;
    this.#ask(request, false, (reply) => {
      for (const one of all) history.ended(one, outcomeOf(reply));
    });
  }

  /** For a while; sometimes somebody else has to end it. */
  #pauseGroup(group: string): void {
    const { random, time, history } = this.world;
    const pauses = readersOf(group).map((reader) => history.pauses(reader, true));
    this.#ask({ type: "group.pause", group, ...audit }, false, (reply) => {
      for (const pause of pauses) history.ended(pause, outcomeOf(reply));
    });
    time.after(random.between(500, 20_000), () => this.#resumeGroup(group, random.chance(0.5)));
  }

  #resumeGroup(group: string, isResent: boolean): void {
    const { history } = this.world;
    const resumes = readersOf(group).map((reader) => history.pauses(reader, false));
    this.#ask({ type: "group.resume", group, ...audit }, isResent, (reply) => {
      // What was asked twice may have been done the first time.
      const isRefused = reply?.type === "error";
      for (const resume of resumes)
        history.ended(resume, isResent && isRefused ? "info" : outcomeOf(reply));
      // Nobody may be left paused, and the disk may have been full.
      if (isResent && isRefused && reply.code === "DISK_FULL")
        this.world.time.after(5_000, () => this.#resumeGroup(group, true));
    });
  }

  /** Whatever comes next to the group, or what it has in hand, or anything at all. */
  #skip(group: string, topic: string): void {
    const { random, history, auditor } = this.world;
    const { ledger } = auditor;
    const cursor = ledger.cursorOf(group, ledger.topicNos.get(topic) ?? 0);
    if (cursor === undefined) return;
    const near = [...cursor.entries.keys(), cursor.nextOffset, cursor.nextOffset + 2];
    const offsets = [...new Set([random.pick(near), random.pick(near), random.below(30)])];
    const skips = offsets.map((offset) => history.intervenes("skip", group, topic, offset));
    this.#ask({ type: "group.skip", group, topic, offsets, ...audit }, false, (reply) => {
      const value = reply?.type === "ok" ? (reply.value as SkipView) : null;
      const left = [...(value?.missing ?? []), ...(value?.pending ?? [])];
      for (const one of skips)
        history.ended(one, left.includes(one.offset ?? 0) ? "fail" : outcomeOf(reply));
    });
  }
}

const timesIn = (all: readonly number[], one: number): number =>
  all.filter((other) => other === one).length;
