// Command vcsim serves govmomi's vCenter simulator for the tests of this project.
//
// It is the simulator behind govmomi's own command of that name, started with an empty inventory, and adds what the
// tests need and that command lacks: an account of its own for building the inventory, and a control endpoint that
// takes rights away, makes properties unreadable, changes the password, ends sessions, delays calls and counts them.
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
	"github.com/vmware/govmomi/vim25/types"
)

func main() {
	listen := flag.String("l", "127.0.0.1:8989", "address and port to listen on")
	username := flag.String("username", "", "account that the operator logs in with")
	certificate := flag.String("tlscert", "", "file of the server's certificate")
	key := flag.String("tlskey", "", "file of the certificate's key")
	flag.Parse()

	model := simulator.VPX()
	model.Datacenter, model.Cluster, model.ClusterHost, model.Host = 0, 0, 0, 0
	model.Portgroup, model.Datastore, model.Machine = 0, 0, 0
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	defer model.Remove()

	pair, err := tls.LoadX509KeyPair(*certificate, *key)
	if err != nil {
		log.Fatal(err)
	}
	rights := newRights(model.Service.Context, *username, os.Getenv("VCSIM_PASSWORD"), os.Getenv("VCSIM_BUILDER_PASSWORD"))

	service := model.Service
	service.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	service.Listen = &url.URL{Host: *listen, User: url.UserPassword(*username, "checked by rights.validLogin")}
	service.HandleFunc("/control", rights.serveControl)
	model.Map().SessionManager().ValidLogin = func(login *types.Login) bool { return rights.validLogin(login) }
	model.Map().AddHandler(unshared{})
	model.Map().Handler = rights.intercept
	server := service.NewServer()
	log.Printf("vcsim listens on %s", server.URL.Host)

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
}
