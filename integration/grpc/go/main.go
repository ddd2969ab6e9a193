// Grpc-go dials TARGET (xds:///orders) and calls METHOD (/shop.Orders/Get) again and again on one
// channel: a line for each call, `ok NAME` of the instance that answered or `failed CODE WORDS`.
// Ends when it is killed. The bootstrap's file is named by GRPC_XDS_BOOTSTRAP. With the word xds at the end, it connects
// as the cluster says (TLS), else always without TLS. With CALL_VERSION, each call asks for that version by the metadata
// x-version.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	_ "google.golang.org/grpc/xds" // the scheme
)

const (
	pace     = 20 * time.Millisecond // between two calls
	deadline = 20 * time.Second      // no response within this time is a failure
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: grpc-go TARGET METHOD [xds]")
		os.Exit(2)
	}
	credentials := insecure.NewCredentials()
	var err error
	if len(os.Args) > 3 {
		credentials, err = xds.NewClientCredentials(xds.ClientOptions{FallbackCreds: credentials})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	channel, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(credentials))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		fmt.Println(call(channel, os.Args[2]))
		time.Sleep(pace)
	}
}

// call returns what became of one call, as a line.
func call(channel *grpc.ClientConn, method string) string {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if version := os.Getenv("CALL_VERSION"); version != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-version", version)
	}
	var name wrapperspb.StringValue
	if err := channel.Invoke(ctx, method, &emptypb.Empty{}, &name); err != nil {
		words := strings.ReplaceAll(status.Convert(err).Message(), "\n", " ")
		return fmt.Sprintf("failed %s %s", status.Code(err), words)
	}
	return "ok " + name.GetValue()
}
