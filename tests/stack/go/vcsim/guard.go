package main

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// guard is a property collector that answers as the collector that was asked would, less what the account may not see.
// As in a vCenter, a hidden entity is missing from views and lists without a word, and asked for by its reference it
// answers NoPermission.
type guard struct {
	mo.PropertyCollector
	rights *rights
}

// Lock and Unlock make the simulator hold no lock during a call: a long poll must not stop the other calls.
func (*guard) Lock()   {}
func (*guard) Unlock() {}

func asked(ctx *simulator.Context, ref types.ManagedObjectReference) (*simulator.PropertyCollector, *soap.Fault) {
	collector, ok := ctx.Session.Get(ref).(*simulator.PropertyCollector)
	if !ok {
		return nil, simulator.Fault("managed object not found: "+ref.String(), &types.ManagedObjectNotFound{Obj: ref})
	}
	return collector, nil
}

func (g *guard) RetrievePropertiesEx(ctx *simulator.Context, req *types.RetrievePropertiesEx) soap.HasFault {
	collector, fault := asked(ctx, req.This)
	if fault != nil {
		return &methods.RetrievePropertiesExBody{Fault_: fault}
	}
	vanishing := g.rights.vanishesNow(req.SpecSet)
	vanishing.takeView(ctx, req.SpecSet)
	answer := collector.RetrievePropertiesEx(ctx, req)
	if body, ok := answer.(*methods.RetrievePropertiesExBody); ok && body.Res != nil && body.Res.Returnval != nil {
		objects := g.permitted(body.Res.Returnval.Objects, req.SpecSet)
		body.Res.Returnval.Objects = vanishing.take(g.rights.ctx, objects)
	}
	return answer
}

func (g *guard) ContinueRetrievePropertiesEx(ctx *simulator.Context, req *types.ContinueRetrievePropertiesEx) soap.HasFault {
	collector, fault := asked(ctx, req.This)
	if fault != nil {
		return &methods.ContinueRetrievePropertiesExBody{Fault_: fault}
	}
	answer := collector.ContinueRetrievePropertiesEx(ctx, req)
	if body, ok := answer.(*methods.ContinueRetrievePropertiesExBody); ok && body.Res != nil {
		objects := g.permitted(body.Res.Returnval.Objects, nil)
		body.Res.Returnval.Objects = g.rights.vanishedLast().without(g.rights.ctx, objects)
	}
	return answer
}

func (g *guard) RetrieveProperties(ctx *simulator.Context, req *types.RetrieveProperties) soap.HasFault {
	collector, fault := asked(ctx, req.This)
	if fault != nil {
		return &methods.RetrievePropertiesBody{Fault_: fault}
	}
	answer := collector.RetrieveProperties(ctx, req)
	if body, ok := answer.(*methods.RetrievePropertiesBody); ok && body.Res != nil {
		body.Res.Returnval = g.permitted(body.Res.Returnval, req.SpecSet)
	}
	return answer
}

func (g *guard) WaitForUpdatesEx(ctx *simulator.Context, req *types.WaitForUpdatesEx) soap.HasFault {
	collector, fault := asked(ctx, req.This)
	if fault != nil {
		return &methods.WaitForUpdatesExBody{Fault_: fault}
	}
	answer := collector.WaitForUpdatesEx(ctx, req)
	body, ok := answer.(*methods.WaitForUpdatesExBody)
	if !ok || body.Res == nil || body.Res.Returnval == nil {
		return answer
	}
	for i := range body.Res.Returnval.FilterSet {
		filter := &body.Res.Returnval.FilterSet[i]
		filter.ObjectSet = slices.DeleteFunc(filter.ObjectSet, func(update types.ObjectUpdate) bool {
			return update.Kind != types.ObjectUpdateKindLeave && g.rights.hides(update.Obj)
		})
	}
	return answer
}

// permitted leaves what the account may see of the objects that specs asked for.
func (g *guard) permitted(objects []types.ObjectContent, specs []types.PropertyFilterSpec) []types.ObjectContent {
	var seen []types.ObjectContent
	for _, object := range objects {
		if g.rights.hides(object.Obj) {
			if !addressed(object.Obj, specs) {
				continue
			}
			for _, property := range object.PropSet {
				object.MissingSet = append(object.MissingSet, withheld(object.Obj, property.Name))
			}
			object.PropSet = nil
		}
		for _, name := range g.rights.withholds(object.Obj) {
			before := len(object.PropSet)
			object.PropSet = slices.DeleteFunc(object.PropSet, func(p types.DynamicProperty) bool { return p.Name == name })
			if len(object.PropSet) != before {
				object.MissingSet = append(object.MissingSet, withheld(object.Obj, name))
			}
		}
		for i := range object.PropSet {
			if refs, ok := object.PropSet[i].Val.(types.ArrayOfManagedObjectReference); ok {
				object.PropSet[i].Val = g.visible(refs)
			} else if refs, ok := object.PropSet[i].Val.(*types.ArrayOfManagedObjectReference); ok {
				object.PropSet[i].Val = g.visible(*refs)
			}
		}
		seen = append(seen, object)
	}
	return seen
}

// visible is a copy: the simulator's lists may share their memory with the inventory.
func (g *guard) visible(refs types.ArrayOfManagedObjectReference) types.ArrayOfManagedObjectReference {
	kept := slices.DeleteFunc(slices.Clone(refs.ManagedObjectReference), g.rights.hides)
	return types.ArrayOfManagedObjectReference{ManagedObjectReference: kept}
}

func addressed(ref types.ManagedObjectReference, specs []types.PropertyFilterSpec) bool {
	return slices.ContainsFunc(specs, func(spec types.PropertyFilterSpec) bool {
		return slices.ContainsFunc(spec.ObjectSet, func(object types.ObjectSpec) bool { return object.Obj == ref })
	})
}

func withheld(ref types.ManagedObjectReference, property string) types.MissingProperty {
	fault := &types.NoPermission{Object: &ref, PrivilegeId: "System.Read"}
	return types.MissingProperty{Path: property, Fault: types.LocalizedMethodFault{Fault: fault}}
}
