// SPDX-License-Identifier: Apache-2.0
// Node's own fetch, which knows of no proxy.   global_fetch.js ORIGIN DENIED PLACEHOLDER
// Prints one line of JSON per cell.
'use strict';
const { createHash } = require('crypto');

const [origin, denied, placeholder] = process.argv.slice(2);

async function told(answer) {
  return { status: answer.status, body: await answer.text() };
}

async function get(url, headers) {
  return told(await fetch(url, { headers }));
}

async function big() {
  const digest = createHash('sha256');
  for await (const part of (await fetch(`${origin}/big`)).body) digest.update(part);
  return { sha256: digest.digest('hex') };
}

async function events() {
  const lines = [];
  for await (const part of (await fetch(`${origin}/events/fetch`)).body) {
    lines.push(...Buffer.from(part).toString().split('\n').filter((line) => line !== ''));
    if (lines.length === 1) await get(`${origin}/release/fetch`);
  }
  return { lines };
}

async function upload() {
  async function* parts() {
    yield Buffer.from('first\n');
    await get(`${origin}/arrived/fetch`);
    yield Buffer.from('second\n');
  }
  return told(await fetch(`${origin}/upload/fetch`, { method: 'POST', body: parts(), duplex: 'half' }));
}

const cells = {
  'allowed': () => get(`${origin}/hello`),
  'denied host': () => get(denied),
  'denied path': () => get(`${origin}/forbidden/x`),
  'swapped': () => get(`${origin}/echo`, { authorization: `Bearer ${placeholder}` }),
  'misplaced': () => get(`${origin}/echo`, { 'x-other': placeholder }),
  'big': big,
  'events': events,
  'upload': upload,
};

(async () => {
  for (const [cell, run] of Object.entries(cells)) {
    try {
      console.log(JSON.stringify({ cell, ...await run() }));
    } catch (error) {
      console.log(JSON.stringify({ cell, error: String(error.cause || error) }));
    }
  }
})();
