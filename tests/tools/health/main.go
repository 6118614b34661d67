// Command health says what Flux and Argo CD make of Kubernetes objects. It reads a JSON array of objects from standard input
// and the Lua script for Argo CD from the file that is its argument, and prints for each object the words of both.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type verdict struct {
	Kstatus string `json:"kstatus"`
	Argo    string `json:"argo"`
	Message string `json:"message"`
}

func main() {
	script, err := os.ReadFile(os.Args[1])
	check(err)
	var objects []map[string]any
	check(json.NewDecoder(os.Stdin).Decode(&objects))
	verdicts := []verdict{}
	for _, object := range objects {
		result, err := status.Compute(&unstructured.Unstructured{Object: whole(object).(map[string]any)})
		check(err)
		argo, message := argoHealth(string(script), object)
		verdicts = append(verdicts, verdict{string(result.Status), argo, message})
	}
	check(json.NewEncoder(os.Stdout).Encode(verdicts))
}

// argoHealth runs the script as Argo CD does: with its three libraries and no others, the object as the global `obj`.
func argoHealth(script string, object map[string]any) (string, string) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	} {
		check(state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)))
	}
	state.SetGlobal("obj", value(state, object))
	check(state.DoString(script))
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		log.Fatalf("the script returned %v and no table", state.Get(-1))
	}
	return table.RawGetString("status").String(), table.RawGetString("message").String()
}

func value(state *lua.LState, from any) lua.LValue {
	table := state.NewTable()
	switch from := from.(type) {
	case bool:
		return lua.LBool(from)
	case int64:
		return lua.LNumber(from)
	case string:
		return lua.LString(from)
	case []any:
		for _, item := range from {
			table.Append(value(state, item))
		}
	case map[string]any:
		for key, item := range from {
			table.RawSetString(key, value(state, item))
		}
	default:
		return lua.LNil
	}
	return table
}

// whole makes the numbers of an object whole ones, as clients of Kubernetes read them.
func whole(from any) any {
	switch from := from.(type) {
	case float64:
		return int64(from)
	case []any:
		for i, item := range from {
			from[i] = whole(item)
		}
	case map[string]any:
		for key, item := range from {
			from[key] = whole(item)
		}
	}
	return from
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
