// Command vcsim stands in for govmomi's own command of that name, which is in no published module: the same simulator
// with those of its flags that docker-compose.yml uses. It starts with an empty inventory.
package main

import (
	"crypto/tls"
	"flag"
	"log"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/vmware/govmomi/simulator"
)

func main() {
	model := simulator.VPX()
	flag.IntVar(&model.Datacenter, "dc", model.Datacenter, "number of datacenters")
	listen := flag.String("l", "127.0.0.1:8989", "address and port to listen on")
	username := flag.String("username", "", "account that is let in")
	password := flag.String("password", "", "its password")
	certificate := flag.String("tlscert", "", "file of the server's certificate")
	key := flag.String("tlskey", "", "file of the certificate's key")
	flag.Parse()

	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	defer model.Remove()
	pair, err := tls.LoadX509KeyPair(*certificate, *key)
	if err != nil {
		log.Fatal(err)
	}
	model.Service.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	model.Service.Listen = &url.URL{Host: *listen, User: url.UserPassword(*username, *password)}
	model.Service.RegisterEndpoints = true
	server := model.Service.NewServer()
	defer server.Close()
	log.Printf("vcsim listens on %s", server.URL.Host)

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
}
