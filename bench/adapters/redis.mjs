/** Redis Streams: XADD, and consumer groups that acknowledge what they have read in one command. */
import { Redis } from "ioredis";
import { topicsOf } from "../scenarios.mjs";

const READ_COUNT = 1000;

const open = ({ addresses }) => {
  const { port } = addresses.redis ?? addresses["redis-fsync"];
  // The commands of one turn go out together, as our own SDK does it.
  return new Redis({ host: "127.0.0.1", port, enableAutoPipelining: true });
};

export async function tearDown(place) {
  const redis = open(place);
  await redis.unlink(...topicsOf(place.scenario));
  await redis.quit();
}

export async function openProducer(place) {
  const redis = open(place);
  await redis.ping();
  return {
    operate: (topic, body) => redis.xadd(topic, "*", "body", body),
    close: () => redis.quit(),
  };
}

export async function openConsumer(place, group) {
  const topics = topicsOf(place.scenario);
  const [reader, acker] = [open(place), open(place)];
  for (const topic of topics) await acker.xgroup("CREATE", topic, group, "0", "MKSTREAM");
  const acks = new Set();
  let isOpen = true;

  const acknowledge = (topic, ids) => {
    const ack = acker.xack(topic, group, ...ids).finally(() => acks.delete(ack));
    acks.add(ack);
  };

  async function read(onMessage) {
    const places = [...topics, ...topics.map(() => ">")];
    while (isOpen) {
      const streams = await reader.xreadgroupBuffer(
        ...["GROUP", group, "bench", "COUNT", READ_COUNT, "BLOCK", 1000, "STREAMS", ...places],
      );
      for (const [topic, entries] of streams ?? []) {
        for (const [, [, body]] of entries) onMessage(body, false);
        acknowledge(
          topic,
          entries.map(([id]) => id),
        );
      }
    }
  }

  return {
    start(onMessage, onFault) {
      read(onMessage).catch((error) => {
        // Closing ends the command that waits.
        if (isOpen) onFault(error);
      });
    },
    async settle() {
      // The last entries were handled, but not acknowledged yet.
      await new Promise((resolve) => setImmediate(resolve));
      await Promise.all(acks);
    },
    async close() {
      isOpen = false;
      reader.disconnect();
      await acker.quit();
    },
  };
}
