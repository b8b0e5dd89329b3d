/** RabbitMQ: durable queues, persistent messages, publisher confirms, an ack for each message. */
import amqp from "amqplib";
import { groupsOf, topicsOf } from "../scenarios.mjs";

const PREFETCH = 1000;

export const connect = ({ addresses }) =>
  amqp.connect(`amqp://guest:guest@127.0.0.1:${addresses.rabbitmq.port}`);

/** One queue for each topic and group; without groups one that nobody reads. */
const queuesOf = (scenario, topic) =>
  (scenario.groups === 0 ? ["unread"] : groupsOf(scenario)).map((group) => `${topic}-${group}`);

export async function setUp(place) {
  const { scenario, variant } = place;
  const connection = await connect(place);
  const channel = await connection.createChannel();
  for (const topic of topicsOf(scenario)) {
    await channel.assertExchange(topic, "fanout", { durable: true });
    for (const queue of queuesOf(scenario, topic)) {
      await channel.assertQueue(queue, {
        durable: true,
        arguments: { "x-queue-type": variant },
      });
      await channel.bindQueue(queue, topic, "");
    }
  }
  await connection.close();
}

export async function tearDown(place) {
  const connection = await connect(place);
  const channel = await connection.createChannel();
  for (const topic of topicsOf(place.scenario)) {
    for (const queue of queuesOf(place.scenario, topic)) await channel.deleteQueue(queue);
    await channel.deleteExchange(topic);
  }
  await connection.close();
}

/** Resolves when the broker has confirmed the message. */
export const published = (channel, topic, body) =>
  new Promise((resolve, reject) => {
    channel.publish(topic, "", body, { persistent: true }, (error) =>
      error ? reject(error) : resolve(),
    );
  });

export async function openProducer(place) {
  const connection = await connect(place);
  const channel = await connection.createConfirmChannel();
  return {
    operate: (topic, body) => published(channel, topic, body),
    close: () => connection.close(),
  };
}

export async function openConsumer(place, group) {
  const connection = await connect(place);
  const channel = await connection.createChannel();
  await channel.prefetch(PREFETCH);
  return {
    start(onMessage, onFault) {
      const handle = (message) => {
        channel.ack(message);
        onMessage(message.content, message.fields.redelivered);
      };
      for (const topic of topicsOf(place.scenario))
        channel.consume(`${topic}-${group}`, handle).catch(onFault);
    },
    // The broker says nothing to an ack; an answered request proves that it has read them all.
    settle: () => channel.prefetch(PREFETCH),
    close: () => connection.close(),
  };
}
