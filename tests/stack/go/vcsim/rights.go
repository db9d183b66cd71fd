package main

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// builder is the account that builds the inventory: it sees everything, and its calls are not counted.
const builder = "inventory-builder"

// restrictions is what the control endpoint takes; a field that is absent stays as it is.
type restrictions struct {
	Password       *string              `json:"password"`
	Hidden         *[]string            `json:"hidden"`     // names or ids of entities that the account may not see; "*" for all
	Unreadable     *map[string][]string `json:"unreadable"` // entity name to the properties that answer NoPermission
	DelayMs        *map[string]int      `json:"delay_ms"`   // method to delay; "*" for all
	ExpireSessions bool                 `json:"expire_sessions"`
	Open           bool                 `json:"open"` // the inventory is built: let the account in
	DestroyCluster string               `json:"destroy_cluster"`
	ForgetNetworks string               `json:"forget_networks"` // of this cluster: those that no longer exist
	Move           string               `json:"move"`            // cluster or folder, by name or id
	Into           string               `json:"into"`            // id of the folder that it is moved into
	Vanishing      *vanishing           `json:"vanishing"`
}

// rights holds what the account may do. Its zero restrictions allow everything.
type rights struct {
	ctx             *simulator.Context
	inventory       *simulator.Registry
	username        string
	builderPassword string
	guard           types.ManagedObjectReference
	opened          chan struct{} // closed once the inventory is built: logins of the account wait for it
	open            sync.Once

	mu         sync.Mutex
	password   string
	hidden     map[string]bool
	unreadable map[string][]string
	delays     map[string]int
	vanishing  *vanishing
	vanished   *vanishing
	calls      map[string]int
	sessions   map[string]bool // keys seen of the account, true while valid
}

func newRights(ctx *simulator.Context, username, password, builderPassword string) *rights {
	r := &rights{
		ctx: ctx, inventory: ctx.Map, username: username, password: password, builderPassword: builderPassword,
		calls: map[string]int{}, sessions: map[string]bool{}, opened: make(chan struct{}),
	}
	g := &guard{rights: r}
	g.Self = types.ManagedObjectReference{Type: "PropertyCollector", Value: "guard"}
	r.guard = ctx.Map.Put(g).Reference()
	return r
}

func (r *rights) validLogin(login *types.Login) bool {
	if login.UserName != builder {
		<-r.opened
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	same := func(a, b string) bool { return b != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
	return login.UserName == r.username && same(login.Password, r.password) ||
		login.UserName == builder && same(login.Password, r.builderPassword)
}

// intercept is the simulator's hook before each call: it counts, delays, refuses ended sessions, and sends the
// account's reads through the guard.
func (r *rights) intercept(ctx *simulator.Context, method *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	if ctx.Session != nil && ctx.Session.UserName == builder {
		return nil, nil
	}
	delay, expired := r.note(ctx, method.Name)
	time.Sleep(delay)
	if expired {
		ctx.Session = nil
		if method.Name != "Login" {
			return nil, &types.NotAuthenticated{
				NoPermission: types.NoPermission{Object: &method.This, PrivilegeId: "System.View"},
			}
		}
	}
	switch method.Name {
	case "RetrievePropertiesEx", "ContinueRetrievePropertiesEx", "RetrieveProperties", "WaitForUpdatesEx":
		if ctx.Session != nil {
			method.This = r.guard // the body keeps the collector that was asked
		}
	}
	return nil, nil
}

func (r *rights) note(ctx *simulator.Context, method string) (delay time.Duration, expired bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls[method]++
	ms, ok := r.delays[method]
	if !ok {
		ms = r.delays["*"]
	}
	if ctx.Session != nil {
		valid, seen := r.sessions[ctx.Session.Key]
		expired = seen && !valid
		if !seen {
			r.sessions[ctx.Session.Key] = true
		}
	}
	return time.Duration(ms) * time.Millisecond, expired
}

// hides tells whether the account may not see the entity at all.
func (r *rights) hides(ref types.ManagedObjectReference) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.hidden) == 0 || ref.Value == "group-d1" {
		return false
	}
	name, isEntity := r.entityName(ref)
	return isEntity && (r.hidden["*"] || r.hidden[name] || r.hidden[ref.Value])
}

// vanishesNow is what vanishes during this reading; nothing but for the first reading of a view since it was said.
func (r *rights) vanishesNow(specs []types.PropertyFilterSpec) *vanishing {
	r.mu.Lock()
	defer r.mu.Unlock()
	reading := slices.ContainsFunc(specs, func(spec types.PropertyFilterSpec) bool {
		return slices.ContainsFunc(spec.ObjectSet, func(o types.ObjectSpec) bool { return o.Obj.Type == "ContainerView" })
	})
	if r.vanishing == nil || !reading {
		return &vanishing{}
	}
	r.vanished, r.vanishing = r.vanishing, nil
	return r.vanished
}

// vanishedLast is what vanished during an earlier reading.
func (r *rights) vanishedLast() *vanishing {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.vanished == nil {
		return &vanishing{}
	}
	return r.vanished
}

// withholds lists the properties of the entity that the account may not read.
func (r *rights) withholds(ref types.ManagedObjectReference) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.unreadable) == 0 {
		return nil
	}
	name, _ := r.entityName(ref)
	return r.unreadable[name]
}

func (r *rights) entityName(ref types.ManagedObjectReference) (string, bool) {
	entity, ok := r.inventory.Get(ref).(mo.Entity)
	if !ok {
		return "", false
	}
	return entity.Entity().Name, true
}

func (r *rights) apply(change restrictions) {
	if change.Open {
		r.open.Do(func() { close(r.opened) })
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if change.Password != nil {
		r.password = *change.Password
	}
	if change.Hidden != nil {
		r.hidden = map[string]bool{}
		for _, name := range *change.Hidden {
			r.hidden[name] = true
		}
	}
	if change.Unreadable != nil {
		r.unreadable = *change.Unreadable
	}
	if change.DelayMs != nil {
		r.delays = *change.DelayMs
	}
	if change.Vanishing != nil {
		r.vanishing = change.Vanishing
	}
	if change.ExpireSessions {
		for key := range r.sessions {
			r.sessions[key] = false
		}
	}
}

func (r *rights) alter(change restrictions) error {
	if change.DestroyCluster != "" {
		return destroyCluster(r.ctx, change.DestroyCluster)
	}
	if change.ForgetNetworks != "" {
		return forgetNetworks(r.ctx, change.ForgetNetworks)
	}
	if change.Move != "" {
		return moveEntity(r.ctx, change.Move, change.Into)
	}
	return nil
}

// serveControl takes restrictions (POST) and answers the calls counted so far by method, for who knows the builder's password.
func (r *rights) serveControl(w http.ResponseWriter, request *http.Request) {
	if _, password, _ := request.BasicAuth(); password != r.builderPassword || password == "" {
		http.Error(w, "not the builder", http.StatusForbidden)
		return
	}
	if request.Method == http.MethodPost {
		var change restrictions
		if err := json.NewDecoder(request.Body).Decode(&change); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := r.alter(change); err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		r.apply(change)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"calls": r.calls})
}
