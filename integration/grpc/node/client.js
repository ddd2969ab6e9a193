// Dials TARGET (xds:///orders) and calls METHOD (/shop.Orders/Get) again and again: a line for
// each call, `ok NAME` of the instance that answered or `failed CODE WORDS`. Ends when it is
// killed. The bootstrap's file is named by GRPC_XDS_BOOTSTRAP. With the word xds at the end, it
// connects as the cluster says (TLS), else always without TLS. With CALL_VERSION, each call asks
// for that version by the metadata x-version.
'use strict';

const grpc = require('@grpc/grpc-js');
const xds = require('@grpc/grpc-js-xds');

const PACE = 20; // milliseconds between two calls
const DEADLINE = 20000; // no answer in so long is a failure

xds.register();
const [target, method, credentials] = process.argv.slice(2);
const insecure = grpc.credentials.createInsecure();
const client = new grpc.Client(target, credentials === 'xds' ? new xds.XdsChannelCredentials(insecure) : insecure);

// The text of a google.protobuf.StringValue (field 1) that is shorter than 128 bytes.
const name = (message) => message.subarray(2).toString();

const metadata = new grpc.Metadata();
if (process.env.CALL_VERSION) metadata.set('x-version', process.env.CALL_VERSION);

function call() {
  const options = { deadline: Date.now() + DEADLINE };
  client.makeUnaryRequest(method, (request) => request, name, Buffer.alloc(0), metadata, options, (error, answer) => {
    const line = error
      ? `failed ${grpc.status[error.code]} ${error.details.replaceAll('\n', ' ')}`
      : `ok ${answer}`;
    process.stdout.write(`${line}\n`);
    setTimeout(call, PACE);
  });
}

call();
