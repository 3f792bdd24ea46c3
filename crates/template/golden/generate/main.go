// Renders each cases/*.tmpl with Go's own text/template, so that the tests compare with what Go says.
//
//	cd crates/template/golden/generate && go run .
//
// The data of a case is beside it (*.json), else in ../data.json. What Go renders goes to *.out, what it refuses to *.err. The functions that
// are not Go's own are defined here as the lab format's tools define them.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
)

func main() {
	cases, err := filepath.Glob("../cases/*.tmpl")
	check(err)
	for _, path := range cases {
		base := strings.TrimSuffix(path, ".tmpl")
		for _, old := range []string{".out", ".err"} {
			_ = os.Remove(base + old)
		}
		text, err := os.ReadFile(path)
		check(err)
		out, err := render(string(text), data(base+".json"))
		if err != nil {
			check(os.WriteFile(base+".err", []byte(err.Error()+"\n"), 0o644))
			continue
		}
		check(os.WriteFile(base+".out", out, 0o644))
	}
	fmt.Println(len(cases), "cases")
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func render(text string, data any) ([]byte, error) {
	parsed, err := template.New("case").Funcs(functions()).Parse(text)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = parsed.Execute(&out, data)
	return out.Bytes(), err
}

// Numbers as YAML has them: whole ones are int, others float64.
func data(path string) any {
	text, err := os.ReadFile(path)
	if err != nil {
		text, err = os.ReadFile("../data.json")
		check(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	check(decoder.Decode(&value))
	return typed(value)
}

func typed(value any) any {
	switch value := value.(type) {
	case json.Number:
		if whole, err := strconv.Atoi(value.String()); err == nil {
			return whole
		}
		number, err := value.Float64()
		check(err)
		return number
	case []any:
		for index := range value {
			value[index] = typed(value[index])
		}
	case map[string]any:
		for key := range value {
			value[key] = typed(value[key])
		}
	}
	return value
}

func functions() template.FuncMap {
	pair := func(whole func(a, b int) int, real func(a, b float64) float64) func(a, b any) any {
		return func(a, b any) any {
			if isFloat(a) || isFloat(b) {
				return real(toFloat(a), toFloat(b))
			}
			return whole(toInt(a), toInt(b))
		}
	}
	return template.FuncMap{
		"add":      pair(func(a, b int) int { return a + b }, func(a, b float64) float64 { return a + b }),
		"subtract": pair(func(a, b int) int { return a - b }, func(a, b float64) float64 { return a - b }),
		"sub":      pair(func(a, b int) int { return a - b }, func(a, b float64) float64 { return a - b }),
		"mul":      pair(func(a, b int) int { return a * b }, func(a, b float64) float64 { return a * b }),
		"div": func(a, b any) (float64, error) {
			if toFloat(b) == 0 {
				return 0, fmt.Errorf("division by 0")
			}
			return toFloat(a) / toFloat(b), nil
		},
		"idiv": func(a, b any) int { return toInt(a) / toInt(b) },
		"rem":  func(a, b any) int { return toInt(a) % toInt(b) },
		"pow":  func(a, b any) int { return int(math.Pow(toFloat(a), toFloat(b))) },
		"seq":  seq,
		"ToJSON": func(value any) string {
			text, _ := json.Marshal(value)
			return string(text)
		},
		"ToJSONPretty": func(value any, prefix, indent string) string {
			text, _ := json.MarshalIndent(value, prefix, indent)
			return string(text)
		},
		"default": func(fallback, value any) any {
			if truth, _ := template.IsTrue(value); truth {
				return value
			}
			return fallback
		},
		"dict": func(pairs ...any) map[string]any {
			made := map[string]any{}
			for index := 0; index < len(pairs); index += 2 {
				made[fmt.Sprint(pairs[index])] = pairs[index+1]
			}
			return made
		},
		"strings": func() any { return texts{} },
		"conv":    func() any { return conversions{} },
	}
}

type texts struct{}

func (texts) ToUpper(text any) string         { return strings.ToUpper(fmt.Sprint(text)) }
func (texts) Split(by string, text any) []any { return list(strings.Split(fmt.Sprint(text), by)) }
func (texts) ReplaceAll(old, by string, t any) string {
	return strings.ReplaceAll(fmt.Sprint(t), old, by)
}
func (texts) TrimPrefix(prefix string, t any) string {
	return strings.TrimPrefix(fmt.Sprint(t), prefix)
}

type conversions struct{}

func (conversions) ToInt(value any) int { return toInt(value) }
func (conversions) Join(values []any, by string) string {
	parts := make([]string, len(values))
	for index, value := range values {
		parts[index] = fmt.Sprint(value)
	}
	return strings.Join(parts, by)
}

func list(parts []string) []any {
	values := make([]any, len(parts))
	for index, part := range parts {
		values[index] = part
	}
	return values
}

func seq(numbers ...any) ([]any, error) {
	start, end, step := 1, 0, 1
	switch len(numbers) {
	case 1:
		end = toInt(numbers[0])
	case 2:
		start, end = toInt(numbers[0]), toInt(numbers[1])
	case 3:
		start, end, step = toInt(numbers[0]), toInt(numbers[1]), toInt(numbers[2])
	default:
		return nil, fmt.Errorf("1 to 3 numbers are possible")
	}
	values := []any{}
	if step == 0 {
		return values, nil
	}
	if step < 0 {
		step = -step
	}
	for number := start; start <= end && number <= end; number += step {
		values = append(values, number)
	}
	for number := start; start > end && number >= end; number -= step {
		values = append(values, number)
	}
	return values, nil
}

func isFloat(value any) bool {
	switch value := value.(type) {
	case float64:
		return true
	case string:
		_, whole := strconv.ParseInt(value, 0, 64)
		_, real := strconv.ParseFloat(value, 64)
		return whole != nil && real == nil
	}
	return false
}

func toInt(value any) int {
	switch value := value.(type) {
	case int:
		return value
	case float64:
		return int(value)
	case string:
		if whole, err := strconv.ParseInt(strings.ReplaceAll(value, ",", ""), 0, 64); err == nil {
			return int(whole)
		}
		real, err := strconv.ParseFloat(value, 64)
		check(err)
		return int(real)
	case bool:
		if value {
			return 1
		}
		return 0
	}
	panic(fmt.Sprintf("%v is no number", value))
}

func toFloat(value any) float64 {
	if real, ok := value.(float64); ok {
		return real
	}
	if text, ok := value.(string); ok && isFloat(text) {
		real, _ := strconv.ParseFloat(text, 64)
		return real
	}
	return float64(toInt(value))
}
