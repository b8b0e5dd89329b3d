import { describe, expectTypeOf, it } from "vitest";
import {
  type Consumer,
  createConsumer,
  type Message,
  text,
  topic,
} from "../../consumer-sdk/src/index.ts";
import type { Producer } from "../../producer-sdk/src/index.ts";
import { url } from "./fake-broker.ts";

const Orders = topic<{ readonly n: number }>("orders");
const Notes = topic("notes", text);

describe("the types", () => {
  it("of a consumer's bodies follow from its topics: bytes by name, the codec's type else", () => {
    type Made<T> = () => Promise<Consumer<T>>;
    const byName = () => createConsumer({ url, group: "g", subscribe: [{ topic: "raw" }] });
    const typed = () => createConsumer({ url, group: "g", subscribe: [{ topic: Orders }] });
    const mixed = () =>
      createConsumer({
        url,
        group: "g",
        subscribe: [{ topic: Orders }, { topic: Notes }, { topic: "raw" }],
      });
    expectTypeOf(byName).toEqualTypeOf<Made<Uint8Array>>();
    expectTypeOf(typed).toEqualTypeOf<Made<{ readonly n: number }>>();
    expectTypeOf(mixed).toEqualTypeOf<Made<{ readonly n: number } | string | Uint8Array>>();
    expectTypeOf<Message["body"]>().toEqualTypeOf<Uint8Array>();
  });

  it("of a producer's bodies are those of their topics, in each message of a call", () => {
    const uses = (producer: Producer) => [
      producer.send({ topic: Orders, body: { n: 1 } }),
      producer.send({ topic: "any", body: [1, null] }),
      // @ts-expect-error: the topic's bodies have a number n
      producer.send({ topic: Orders, body: { n: "1" } }),
      producer.sendAll([
        { topic: Orders, body: { n: 1 } },
        { topic: Notes, body: "text" },
        { topic: "any", body: 1 },
      ]),
      producer.sendAll([
        { topic: Orders, body: { n: 1 } },
        // @ts-expect-error: the topic's bodies are text
        { topic: Notes, body: 1 },
      ]),
      producer.transaction((tx) =>
        tx.prepare([
          { topic: Notes, body: "text" },
          { topic: Orders, body: { n: 1 } },
        ]),
      ),
    ];
    expectTypeOf(uses).toBeFunction();
  });

  it("of requests and their replies are those of topic and codec", () => {
    const uses = (producer: Producer) => {
      const plain = producer.request({ topic: Orders, body: { n: 1 } });
      const typed = producer.request({ topic: "any", body: 1, reply: text });
      // @ts-expect-error: the topic's bodies have a number n
      void producer.request({ topic: Orders, body: 1 });
      expectTypeOf(plain).resolves.toHaveProperty("body").toEqualTypeOf<Uint8Array>();
      expectTypeOf(typed).resolves.toHaveProperty("body").toEqualTypeOf<string>();
    };
    expectTypeOf(uses).toBeFunction();
  });
});
