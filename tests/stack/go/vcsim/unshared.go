package main

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// unshared gives each new cluster and host a list of networks of its own. The simulator hands out the beginning of its
// datacenter's or cluster's list, memory included, so that what is appended to one turns up in another.
type unshared struct{}

func (unshared) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "RegisterObject", Value: "unshared"}
}

func (unshared) PutObject(_ *simulator.Context, object mo.Reference) {
	switch entity := object.(type) {
	case *simulator.ClusterComputeResource:
		entity.Network = slices.Clip(slices.Clone(entity.Network))
	case *simulator.HostSystem:
		entity.Network = slices.Clip(slices.Clone(entity.Network))
	}
}

func (unshared) UpdateObject(*simulator.Context, mo.Reference, []types.PropertyChange) {}

func (unshared) RemoveObject(*simulator.Context, types.ManagedObjectReference) {}
