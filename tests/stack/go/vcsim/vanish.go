package main

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// vanishing is what is destroyed in the middle of the account's next reading: after the lists that name it were read,
// and before its own properties.
type vanishing struct {
	Names    []string `json:"names"`    // of clusters, datastores, networks or folders (what a folder holds moves up)
	Reported bool     `json:"reported"` // answered as ManagedObjectNotFound for each property, rather than left out
	View     bool     `json:"view"`     // the view that is read goes too
}

// takeView ends the views that specs start from, if that is to happen now.
func (v *vanishing) takeView(ctx *simulator.Context, specs []types.PropertyFilterSpec) {
	for _, spec := range specs {
		for _, object := range spec.ObjectSet {
			if v.View && object.Obj.Type == "ContainerView" {
				ctx.Session.Remove(ctx, object.Obj)
			}
		}
	}
}

// take destroys what is to vanish and takes it out of what was read of it.
func (v *vanishing) take(ctx *simulator.Context, objects []types.ObjectContent) []types.ObjectContent {
	for _, name := range v.Names {
		if entity, err := findEntity(ctx, name); err == nil {
			destroy(ctx, entity)
		}
	}
	return v.without(ctx, objects)
}

// without takes what no longer exists out of what was read, on this page or a later one.
func (v *vanishing) without(ctx *simulator.Context, objects []types.ObjectContent) []types.ObjectContent {
	var left []types.ObjectContent
	for _, object := range objects {
		if ctx.Map.Get(object.Obj) == nil && len(v.Names) > 0 {
			if !v.Reported {
				continue
			}
			for _, property := range object.PropSet {
				fault := types.LocalizedMethodFault{Fault: &types.ManagedObjectNotFound{Obj: object.Obj}}
				object.MissingSet = append(object.MissingSet, types.MissingProperty{Path: property.Name, Fault: fault})
			}
			object.PropSet = nil
		}
		left = append(left, object)
	}
	return left
}

func destroy(ctx *simulator.Context, entity mo.Entity) {
	ref := entity.Reference()
	switch found := entity.(type) {
	case *simulator.ClusterComputeResource:
		_ = destroyCluster(ctx, ref.Value)
		return
	case *simulator.Folder:
		if parent, ok := ctx.Map.Get(*found.Parent).(*simulator.Folder); ok {
			for _, child := range slices.Clone(found.ChildEntity) {
				move(ctx, ctx.Map.Get(child).(mo.Entity), parent)
			}
		}
	}
	if parent, ok := ctx.Map.Get(*entity.Entity().Parent).(*simulator.Folder); ok {
		ctx.Map.RemoveReference(ctx, parent, &parent.ChildEntity, ref)
	}
	ctx.Map.Remove(ctx, ref)
	for _, each := range ctx.Map.All("ClusterComputeResource") {
		if cluster, ok := each.(*simulator.ClusterComputeResource); ok {
			ctx.AutoUpdate(cluster, func() {
				cluster.Network, cluster.Datastore = existing(ctx, cluster.Network), existing(ctx, cluster.Datastore)
			})
		}
	}
}
