/**
 * Which consumer gets which message: subscriptions, credit and leases.
 *
 * Invariants
 * - D10 A subscription never has more delivered to it than it granted, in messages and in bytes.
 * - D11 One group's feeds never touch another's cursor.
 * - D12 Redeliveries and first deliveries take turns; so do the consumers of a group, and the topics of
 *   a consumer, by their weights if it gave them any (weights.ts). A consumer that is slow or congested holds
 *   nothing but its own leases.
 * - D16 Nothing is delivered to a group while it is paused; credit, leases under way, and what it takes in
 *   (windows.ts) go on.
 * - Y1 A feed that has something to deliver is stirred, or its group is paused, or it is starved with each of
 *   its subscriptions, for want of credit or because it is the turn of another one: its end stirs those that waited. So
 *   credit costs a look at what waits for it, and not at every topic of the consumer.
 */

import type { Connection } from "./connections.ts";
import type { Core } from "./core.ts";
import type { Cursor } from "./cursor.ts";
import type { Entry } from "./entries.ts";
import { isPaused } from "./group.ts";
import { invariant } from "./invariant.ts";
import type { Group } from "./state.ts";
import { tokenOf } from "./token.ts";
import type { Topic } from "./topic.ts";
import type { Turn } from "./turn.ts";
import type { Delivery, Unsent } from "./types.ts";
import { Weights } from "./weights.ts";

export interface Subscription {
  /** The client's, of this connection; free again when it has ended. */
  readonly no: number;
  /** Of this run of the broker, and never used again. */
  readonly holderNo: number;
  readonly connection: Connection;
  readonly group: Group;
  readonly leaseMs: number | undefined;
  readonly feeds: readonly Feed[];
  /** Null: its topics are worth the same. */
  readonly weights: Weights<Feed> | null;
  creditMessages: number;
  creditBytes: number;
  /** Feeds that had something for it when it had no credit, or when it was the turn of another. */
  readonly starved: Set<Feed>;
  /** The feed that gave it something last: others come first when there is credit again (D12). */
  lastFed: Feed | null;
  /** What is delivered to it and under way, by the place of the entry, in the order of the deliveries. */
  readonly leased: Set<number>;
}

/** A cursor that somebody reads. */
interface Feed {
  readonly cursor: Cursor;
  readonly group: Group;
  readonly topic: Topic;
  readonly subscriptions: Subscription[];
  /** Whose turn it is. */
  turn: number;
  /** Redeliveries and first deliveries take turns, across picks: credit may come one by one (D12). */
  isAgainNext: boolean;
}

/** What a step may still deliver. */
interface Budget {
  messages: number;
  bytes: number;
}

/** Messages that one consumer may get in one go while others have credit, too. */
const SLICE_MAX = 64;
/** A step ends, whatever its feeds say of each other: one in which so many looks at all of them gave nothing goes on in the next. */
const ROUNDS_IN_VAIN_MAX = 64;
/** Nobody else waits for a turn, so nothing is counted. */
const UNCOUNTED = Number.POSITIVE_INFINITY;

export class Consumers {
  readonly #core: () => Core;
  readonly #feeds = new Map<number, Feed>();
  readonly #holders = new Map<number, Subscription>();
  #nextHolderNo = 1;
  /** The feeds that may have something to deliver. */
  readonly #stirred = new Set<Feed>();

  constructor(core: () => Core) {
    this.#core = core;
  }

  /** True while a step left something to deliver: the shell must come back at once. Retention ends a step, and frees keys. */
  get hasMore(): boolean {
    return this.#stirred.size > 0 || this.#core().state.loosened.size > 0;
  }

  subscribe(
    connection: Connection,
    no: number,
    group: Group,
    cursors: readonly Cursor[],
    leaseMs: number | undefined,
    weights: readonly number[] = [],
  ): Subscription {
    const feeds = cursors.map((cursor) => this.#feedOf(cursor));
    const subscription: Subscription = {
      no,
      holderNo: this.#nextHolderNo++,
      connection,
      group,
      leaseMs,
      feeds,
      weights: weightsOf(feeds, weights),
      creditMessages: 0,
      creditBytes: 0,
      starved: new Set(feeds),
      lastFed: null,
      leased: new Set<number>(),
    };
    connection.subscriptions.set(no, subscription);
    this.#holders.set(subscription.holderNo, subscription);
    for (const feed of feeds) {
      feed.subscriptions.push(subscription);
      // What does not match is passed over without credit.
      if (feed.cursor.takesIn) this.#stirred.add(feed);
    }
    return subscription;
  }

  /** Takes the subscription away; its leases must have been returned before. */
  unsubscribe(subscription: Subscription): void {
    subscription.connection.subscriptions.delete(subscription.no);
    this.#holders.delete(subscription.holderNo);
    for (const feed of subscription.feeds) {
      feed.subscriptions.splice(feed.subscriptions.indexOf(subscription), 1);
      if (feed.subscriptions.length > 0) continue;
      this.#feeds.delete(feed.cursor.no);
      this.#stirred.delete(feed);
    }
  }

  subscriptionsOf(group: Group): Subscription[] {
    const found = new Set<Subscription>();
    for (const cursor of group.cursors.values()) {
      for (const subscription of this.#feeds.get(cursor.no)?.subscriptions ?? [])
        found.add(subscription);
    }
    return [...found];
  }

  grant(
    subscription: Subscription,
    messages: number,
    bytes: number,
    messagesMax: number,
    bytesMax: number,
  ): void {
    subscription.creditMessages = Math.min(subscription.creditMessages + messages, messagesMax);
    subscription.creditBytes = Math.min(subscription.creditBytes + bytes, bytesMax);
    this.stirSubscription(subscription);
  }

  /** There may be something new to deliver from this topic. */
  stirTopic(topicNo: number): void {
    for (const cursor of this.#core().state.readers.get(topicNo) ?? []) this.stir(cursor);
  }

  /** Somebody has a subscription that names it. */
  isRead(cursor: Cursor): boolean {
    return this.#feeds.has(cursor.no);
  }

  stir(cursor: Cursor): void {
    const feed = this.#feeds.get(cursor.no);
    if (feed !== undefined) this.#stirred.add(feed);
  }

  /** With its instances: it is paused no more, or has another order. */
  stirGroup(group: Group): void {
    for (const { cursors } of [group, ...group.instances.values()])
      for (const cursor of cursors.values()) this.stir(cursor);
  }

  stirSubscription(subscription: Subscription): void {
    subscription.weights?.stuck.clear();
    this.#stirStarved(subscription);
  }

  #stirStarved({ starved, lastFed }: Subscription): void {
    // Else a backlog in one topic would take all credit (D12).
    if (lastFed !== null && starved.delete(lastFed)) starved.add(lastFed);
    for (const feed of starved) this.#stirred.add(feed);
    starved.clear();
  }

  /** Ends the bookkeeping of a delivery that is being settled or given back; false: that was done before. */
  endLease(entry: Entry): boolean {
    const holder = holderOf(entry);
    if (holder === null) return false;
    entry.holder = null;
    holder.leased.delete(entry.place);
    this.#core().alarms.cancel(entry.place);
    if (holder.leased.size === 0)
      for (const { cursor } of holder.weights?.stuck ?? []) this.stir(cursor);
    return true;
  }

  /** These never reached their consumer, which thus will never grant their credit again. */
  refund({ holderNo, deliveries }: Unsent): void {
    const holder = this.#holders.get(holderNo);
    if (holder === undefined) return;
    holder.creditMessages += deliveries.length;
    for (const { bytes } of deliveries) holder.creditBytes += bytes;
    this.stirSubscription(holder);
  }

  extend(entry: Entry, nowMs: number, leaseMs: number | undefined): void {
    const holder = holderOf(entry);
    if (holder === null) return;
    this.#core().alarms.set(entry.place, nowMs + (leaseMs ?? leaseMsOf(holder)));
  }

  /** Delivers what there is credit for, up to the step's budget. */
  pump(turn: Turn): void {
    this.#stirLoosened();
    const { deliveriesPerStepMax, deliveryBytesPerStepMax } = this.#core().policy;
    const budget = { messages: deliveriesPerStepMax, bytes: deliveryBytesPerStepMax };
    let roundsInVain = 0;
    while (budget.messages > 0 && budget.bytes > 0 && this.#stirred.size > 0) {
      if (roundsInVain++ === ROUNDS_IN_VAIN_MAX) return;
      const had = budget.messages;
      const share = Math.ceil(budget.messages / this.#stirred.size);
      for (const feed of [...this.#stirred]) {
        if (budget.messages <= 0 || budget.bytes <= 0) return;
        // It has no more, or nobody has credit: it is quiet until somebody stirs it. Else it goes to
        // the end, so that a small budget serves all feeds in turn (D12).
        const isQuiet = isPaused(feed.group)
          ? this.#rest(feed, turn)
          : this.#feed(feed, Math.min(share, budget.messages), budget, turn);
        this.#stirred.delete(feed);
        if (!isQuiet) this.#stirred.add(feed);
      }
      if (budget.messages < had) roundsInVain = 0;
    }
  }

  #stirLoosened(): void {
    const { loosened } = this.#core().state;
    for (const cursor of loosened) this.stir(cursor);
    loosened.clear();
  }

  #feedOf(cursor: Cursor): Feed {
    const known = this.#feeds.get(cursor.no);
    if (known !== undefined) return known;
    const feed: Feed = {
      cursor,
      group: this.#core().state.group(cursor.groupNo),
      topic: this.#core().state.topic(cursor.topicNo),
      subscriptions: [],
      turn: 0,
      isAgainNext: true,
    };
    this.#feeds.set(cursor.no, feed);
    return feed;
  }

  /** Delivers up to `most`; true: there is no more, or nobody has credit for it. */
  #feed(feed: Feed, most: number, budget: Budget, turn: Turn): boolean {
    let left = most;
    let passed = 0;
    while (left > 0 && budget.bytes > 0 && passed < feed.subscriptions.length) {
      const subscription = feed.subscriptions[feed.turn++ % feed.subscriptions.length];
      if (subscription === undefined) break;
      const share = this.#shareOf(subscription, feed);
      const slice = Math.min(left, share, sliceOf(feed));
      const offsets = pick(feed, subscription, slice, budget.bytes);
      if (offsets.length === 0) {
        this.#cannot(subscription, feed, share);
        if (isSomethingThere(feed)) subscription.starved.add(feed);
        passed++;
        continue;
      }
      passed = 0;
      left -= offsets.length;
      budget.messages -= offsets.length;
      for (const offset of offsets) budget.bytes -= feed.topic.bytesOf(offset);
      this.#deliver(feed, subscription, offsets, turn);
      // It comes round again, after the others.
      if (share !== UNCOUNTED && subscription.weights?.took(feed, offsets.length)) break;
    }
    feed.turn %= Math.max(1, feed.subscriptions.length);
    if (feed.cursor.takesIn) this.#core().windows.ask(feed.cursor, feed.topic, turn);
    return passed >= feed.subscriptions.length;
  }

  /** Its group is paused: all that it does is to take in. */
  #rest({ cursor, topic }: Feed, turn: Turn): true {
    if (cursor.takesIn) this.#core().windows.ask(cursor, topic, turn);
    return true;
  }

  /** How many messages it may have now from this feed; 0: others come first. */
  #shareOf(subscription: Subscription, feed: Feed): number {
    const { creditMessages, feeds, weights, leased } = subscription;
    if (weights === null || creditMessages === 0) return UNCOUNTED;
    const isAsked = (other: Feed): boolean => leased.size > 0 || !weights.stuck.has(other);
    const others = feeds.filter(
      (other) => other !== feed && isSomethingThere(other) && isAsked(other),
    );
    if (others.length === 0) return UNCOUNTED;
    const before = weights.before(feed, others);
    if (before.length === 0) return weights.turnOf(feed);
    weights.isAwaited = true;
    // Who waits for the end of what is under way is not asked again before: two consumers would do so in turns.
    for (const other of before) if (!weights.stuck.has(other)) this.#stirred.add(other);
    return 0;
  }

  /** What is too large waits for the end of what is under way, and its turn with it; else others would pass it for ever. */
  #cannot(subscription: Subscription, feed: Feed, share: number): void {
    const { weights, creditMessages, leased } = subscription;
    if (weights === null || creditMessages === 0 || share === 0) return;
    if (isSomethingThere(feed)) {
      weights.stuck.add(feed);
      if (leased.size > 0) return;
    }
    weights.pass(feed);
    if (!weights.isAwaited) return;
    weights.isAwaited = false;
    this.#stirStarved(subscription);
  }

  #deliver(feed: Feed, subscription: Subscription, offsets: readonly number[], turn: Turn): void {
    const { cursor, topic } = feed;
    subscription.lastFed = feed;
    const firstDeliveryNo = cursor.nextDeliveryNo;
    const { connection } = subscription;
    turn.log({
      kind: "delivered",
      cursorNo: cursor.no,
      firstDeliveryNo,
      offsets,
      connection: connection.id,
    });
    const leaseMs = leaseMsOf(subscription);
    const deliveries = offsets.map((offset, at) =>
      this.#lease(subscription, cursor, topic, offset, firstDeliveryNo + at, turn.nowMs + leaseMs),
    );
    turn.send({
      kind: "deliver",
      to: connection.id,
      subscription: subscription.no,
      holderNo: subscription.holderNo,
      topic: topic.name,
      leaseMs,
      hasTtl: topic.hasTtl,
      deliveries,
    });
  }

  #lease(
    subscription: Subscription,
    cursor: Cursor,
    topic: Topic,
    offset: number,
    deliveryNo: number,
    untilMs: number,
  ): Delivery {
    const { alarms, state } = this.#core();
    const entry = cursor.leased(offset, deliveryNo);
    invariant(entry !== undefined, "what is delivered is leased");
    entry.holder = subscription;
    subscription.leased.add(entry.place);
    alarms.set(entry.place, untilMs);
    const bytes = topic.bytesOf(offset);
    subscription.creditMessages--;
    subscription.creditBytes -= bytes;
    const origin = topic.origins.get(offset);
    return {
      token: tokenOf(cursor.no, offset, deliveryNo),
      offset,
      attempt: entry.failures + 1,
      place: topic.placeOf(offset),
      bytes,
      atMs: topic.atMsOf(offset),
      origin:
        origin === undefined
          ? null
          : { ...origin, topic: state.topics.get(origin.topicNo)?.name ?? "" },
    };
  }
}

/** Topics that are worth the same take turns without any book-keeping. */
function weightsOf(feeds: readonly Feed[], weights: readonly number[]): Weights<Feed> | null {
  if (new Set(weights).size < 2) return null;
  return new Weights(new Map(feeds.map((feed, at) => [feed, weights[at] ?? 1])));
}

/** Entries take it for granted that whoever holds them is known to others. */
const holderOf = (entry: Entry): Subscription | null => entry.holder as Subscription | null;

const leaseMsOf = (subscription: Subscription): number =>
  subscription.leaseMs ?? subscription.group.policy.leaseMs;

/** Shares what is ready among those who read, in slices: one record for many deliveries. */
function sliceOf({ cursor, topic, subscriptions }: Feed): number {
  const ready = cursor.readyCount + topic.nextOffset - freshOffset(cursor, topic);
  return Math.min(SLICE_MAX, Math.max(1, Math.ceil(ready / subscriptions.length)));
}

const isSomethingThere = ({ cursor, topic }: Feed): boolean =>
  freshOffset(cursor, topic) < topic.nextOffset || cursor.readyCount > 0;

/** The first that is read straight from the index. What is taken in first comes as ready (windows.ts). */
const freshOffset = (cursor: Cursor, topic: Topic): number =>
  cursor.takesIn ? topic.nextOffset : topic.nextLive(cursor.nextOffset);

/** The next offsets for this subscription, as far as its credit goes. Redeliveries and fresh ones take turns. */
function pick(feed: Feed, subscription: Subscription, most: number, budgetBytes: number): number[] {
  const { cursor, topic } = feed;
  const picked: number[] = [];
  if (subscription.connection.isCongested) return picked;
  let messages = subscription.creditMessages;
  let bytes = subscription.creditBytes;
  const again = cursor.readyAgain();
  let nextAgain = again.next();
  let fresh = freshOffset(cursor, topic);
  const stopAtBytes = bytes - budgetBytes;
  while (picked.length < most && messages > 0 && bytes > stopAtBytes) {
    const isFreshThere = fresh < topic.nextOffset;
    const takesAgain = !nextAgain.done && (feed.isAgainNext || !isFreshThere);
    if (!takesAgain && !isFreshThere) break;
    const offset = takesAgain ? (nextAgain.value as number) : fresh;
    const size = topic.bytesOf(offset);
    if (size > bytes) break;
    picked.push(offset);
    feed.isAgainNext = !takesAgain;
    messages--;
    bytes -= size;
    if (takesAgain) nextAgain = again.next();
    else fresh = topic.nextLive(fresh + 1);
  }
  return picked;
}
