// A plain HTTP client, by Go's net/http alone: creates orders and prints how many were acknowledged a second.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	url := flag.String("url", "http://127.0.0.1:8080", "where the API is")
	orders := flag.Int64("orders", 40000, "how many orders are created")
	clients := flag.Int("clients", 64, "how many connections create them, each one order at a time")
	prefix := flag.String("prefix", "plain", "what ids begin with")
	flag.Parse()

	transport := &http.Transport{MaxIdleConnsPerHost: *clients, MaxConnsPerHost: *clients}
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	var next atomic.Int64
	var done sync.WaitGroup
	began := time.Now()
	for range *clients {
		done.Add(1)
		go func() {
			defer done.Done()
			for number := next.Add(1); number <= *orders; number = next.Add(1) {
				id := fmt.Sprintf("%s-%d", *prefix, number)
				body := fmt.Sprintf(`{"id":%q,"name":%q,"status":"new"}`, id, id)
				answer, err := client.Post(*url+"/", "application/json", strings.NewReader(body))
				if err != nil {
					log.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, answer.Body); err != nil {
					log.Fatal(err)
				}
				answer.Body.Close()
				if answer.StatusCode != http.StatusCreated {
					log.Fatalf("%s was answered %s", id, answer.Status)
				}
			}
		}()
	}
	done.Wait()
	fmt.Printf("%.0f\n", float64(*orders)/time.Since(began).Seconds())
}
