package main

import (
	"fmt"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// destroyCluster takes a cluster with its hosts and pools out of the inventory, which the simulator has no call for.
func destroyCluster(ctx *simulator.Context, name string) error {
	cluster, err := findCluster(ctx, name)
	if err != nil {
		return err
	}
	folder, ok := ctx.Map.Get(*cluster.Parent).(*simulator.Folder)
	if !ok {
		return fmt.Errorf("the parent of cluster %q is no folder", name)
	}
	ctx.WithLock(folder, func() { ctx.Map.RemoveReference(ctx, folder, &folder.ChildEntity, cluster.Self) })
	for _, host := range cluster.Host {
		ctx.Map.Remove(ctx, host)
	}
	if cluster.ResourcePool != nil {
		ctx.Map.Remove(ctx, *cluster.ResourcePool)
	}
	ctx.Map.Remove(ctx, cluster.Self)
	return nil
}

// forgetNetworks drops from a cluster and its hosts the references to port groups that no longer exist, as a vCenter
// does and the simulator does not.
func forgetNetworks(ctx *simulator.Context, name string) error {
	cluster, err := findCluster(ctx, name)
	if err != nil {
		return err
	}
	ctx.AutoUpdate(cluster, func() { cluster.Network = existing(ctx, cluster.Network) })
	for _, ref := range cluster.Host {
		if host, ok := ctx.Map.Get(ref).(*simulator.HostSystem); ok {
			ctx.AutoUpdate(host, func() { host.Network = existing(ctx, host.Network) })
		}
	}
	return nil
}

func findCluster(ctx *simulator.Context, name string) (*simulator.ClusterComputeResource, error) {
	for _, entity := range ctx.Map.All("ClusterComputeResource") {
		if cluster, ok := entity.(*simulator.ClusterComputeResource); ok && (cluster.Name == name || cluster.Self.Value == name) {
			return cluster, nil
		}
	}
	return nil, fmt.Errorf("no cluster %q", name)
}

func existing(ctx *simulator.Context, refs []types.ManagedObjectReference) []types.ManagedObjectReference {
	var kept []types.ManagedObjectReference
	for _, ref := range refs {
		if ctx.Map.Get(ref) != nil {
			kept = append(kept, ref)
		}
	}
	return kept
}
