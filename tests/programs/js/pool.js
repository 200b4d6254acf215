// Fills libuv's pool of four threads with opens of FIFOs that nobody writes to (its arguments);
// `ready` once the kernel says that four threads sleep in openat.
'use strict';
const fs = require('fs');

for (const path of process.argv.slice(2)) fs.open(path, 'r', () => {});

function sleepers() {
  return fs.readdirSync('/proc/self/task').filter((tid) => {
    try {
      return fs.readFileSync(`/proc/self/task/${tid}/syscall`, 'latin1').startsWith('257 ');
    } catch {
      return false; // it has ended
    }
  });
}

function look() {
  const tids = sleepers();
  if (tids.length < 4) return setImmediate(look);
  console.log(`threads ${tids.join(' ')}`);
  console.log(`ready ${process.pid}`);
}
look();
process.stdin.on('data', () => {}).on('end', () => process.exit(0));
