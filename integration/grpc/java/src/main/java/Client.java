import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptors;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import io.grpc.xds.XdsChannelCredentials;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;

/**
 * Dials TARGET (xds:///orders) and calls METHOD (/shop.Orders/Get) again and again on one channel: a
 * line for each call, `ok NAME` of the instance that answered or `failed CODE WORDS`. Ends when it is
 * killed. The bootstrap's file is named by GRPC_XDS_BOOTSTRAP. With the word xds at the end, it connects as the cluster
 * says (TLS), else always without TLS. With CALL_VERSION, each call asks for that version by the metadata x-version.
 */
final class Client {
  private static final long PACE = 20; // milliseconds between two calls
  private static final long DEADLINE = 20; // seconds: no response within this time is a failure

  public static void main(String[] args) throws InterruptedException {
    if (args.length < 2) {
      System.err.println("usage: grpc-java TARGET METHOD [xds]");
      System.exit(2);
    }
    ChannelCredentials insecure = InsecureChannelCredentials.create();
    ChannelCredentials credentials = args.length > 2 ? XdsChannelCredentials.create(insecure) : insecure;
    Metadata metadata = new Metadata();
    if (System.getenv("CALL_VERSION") != null) {
      metadata.put(
          Metadata.Key.of("x-version", Metadata.ASCII_STRING_MARSHALLER), System.getenv("CALL_VERSION"));
    }
    Channel channel =
        ClientInterceptors.intercept(
            Grpc.newChannelBuilder(args[0], credentials).build(),
            MetadataUtils.newAttachHeadersInterceptor(metadata));
    MethodDescriptor<String, String> method =
        MethodDescriptor.<String, String>newBuilder()
            .setType(MethodDescriptor.MethodType.UNARY)
            .setFullMethodName(args[1].substring(1))
            .setRequestMarshaller(TEXT)
            .setResponseMarshaller(TEXT)
            .build();
    while (true) {
      System.out.println(call(channel, method));
      Thread.sleep(PACE);
    }
  }

  /** What became of one call, as a line. */
  private static String call(Channel channel, MethodDescriptor<String, String> method) {
    CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(DEADLINE, TimeUnit.SECONDS);
    try {
      return "ok " + ClientCalls.blockingUnaryCall(channel, method, options, "");
    } catch (StatusRuntimeException error) {
      Status status = error.getStatus();
      String words = status.getDescription() == null ? "" : status.getDescription();
      return "failed " + status.getCode() + " " + words.replace('\n', ' ');
    }
  }

  /** A google.protobuf.StringValue (field 1) that is shorter than 128 bytes; an empty request. */
  private static final MethodDescriptor.Marshaller<String> TEXT =
      new MethodDescriptor.Marshaller<>() {
        @Override
        public InputStream stream(String empty) {
          return new ByteArrayInputStream(new byte[0]);
        }

        @Override
        public String parse(InputStream message) {
          try {
            byte[] bytes = message.readAllBytes();
            return new String(bytes, 2, bytes.length - 2, StandardCharsets.UTF_8);
          } catch (IOException error) {
            throw new UncheckedIOException(error);
          }
        }
      };
}
