// Serves requests and keeps some of each; prints its port once it listens.
const kept = [];
const server = require('http').createServer((request, response) => {
  kept.push(Buffer.alloc(100));
  response.end('a page of ' + 'text '.repeat(100));
});
server.listen(0, '127.0.0.1', () => console.log('ready', process.pid, server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
