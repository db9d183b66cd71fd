package main

import (
	"fmt"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// moveEntity puts a cluster or a folder (by name or id) into another folder, of another datacenter too, and says so to
// who waits for updates, as a vCenter does. The simulator's own MoveIntoFolder_Task moves in silence.
func moveEntity(ctx *simulator.Context, name, folder string) error {
	to, ok := ctx.Map.Get(types.ManagedObjectReference{Type: "Folder", Value: folder}).(*simulator.Folder)
	if !ok {
		return fmt.Errorf("no folder %q", folder)
	}
	entity, err := findEntity(ctx, name)
	if err != nil {
		return err
	}
	move(ctx, entity, to)
	return nil
}

func move(ctx *simulator.Context, entity mo.Entity, to *simulator.Folder) {
	if from, ok := ctx.Map.Get(*entity.Entity().Parent).(*simulator.Folder); ok {
		ctx.Map.RemoveReference(ctx, from, &from.ChildEntity, entity.Reference())
	}
	ctx.Map.AddReference(ctx, to, &to.ChildEntity, entity.Reference())
	ctx.AutoUpdate(entity, func() { entity.Entity().Parent = &to.Self })
}

// findEntity is a cluster, datastore, network or folder by its name or id.
func findEntity(ctx *simulator.Context, name string) (mo.Entity, error) {
	for _, kind := range []string{
		"ClusterComputeResource", "Datastore", "DistributedVirtualPortgroup", "Network", "Folder",
	} {
		for _, found := range ctx.Map.All(kind) {
			if found.Entity().Name == name || found.Reference().Value == name {
				return found, nil
			}
		}
	}
	return nil, fmt.Errorf("no cluster, datastore, network or folder %q", name)
}
