// SPDX-License-Identifier: Apache-2.0

// Go's net/http, its default client.   fetch ORIGIN DENIED PLACEHOLDER
// The proxy comes from HTTPS_PROXY, the authority from SSL_CERT_FILE. Prints one line of JSON per cell.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
)

type cell map[string]interface{}

func get(url, name, value string) (cell, error) {
	request, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return nil, err
	}
	if name != "" {
		request.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	return told(answer)
}

func told(answer *http.Response) (cell, error) {
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return cell{"status": answer.StatusCode, "body": string(body), "protocol": answer.Proto}, err
}

func big(origin string) (cell, error) {
	answer, err := http.Get(origin + "/big")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	digest := sha256.New()
	_, err = io.Copy(digest, answer.Body)
	return cell{"sha256": hex.EncodeToString(digest.Sum(nil))}, err
}

func events(origin string) (cell, error) {
	answer, err := http.Get(origin + "/events/go")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	lines := []string{}
	scanner := bufio.NewScanner(answer.Body)
	for scanner.Scan() {
		if scanner.Text() == "" {
			continue
		}
		lines = append(lines, scanner.Text())
		if len(lines) == 1 {
			if _, err := get(origin+"/release/go", "", ""); err != nil {
				return nil, err
			}
		}
	}
	return cell{"lines": lines}, scanner.Err()
}

func upload(origin string) (cell, error) {
	read, write := io.Pipe()
	go func() {
		io.Copy(write, strings.NewReader("first\n"))
		_, err := get(origin+"/arrived/go", "", "")
		io.Copy(write, strings.NewReader("second\n"))
		write.CloseWithError(err)
	}()
	answer, err := http.Post(origin+"/upload/go", "text/plain", read)
	if err != nil {
		return nil, err
	}
	return told(answer)
}

func main() {
	origin, denied, placeholder := os.Args[1], os.Args[2], os.Args[3]
	say := json.NewEncoder(os.Stdout)
	run := func(name string, it cell, err error) {
		if err != nil {
			it = cell{"error": err.Error()}
		}
		it["cell"] = name
		say.Encode(it)
	}
	simple := []struct{ name, url, header, value string }{
		{"allowed", origin + "/hello", "", ""},
		{"denied host", denied, "", ""},
		{"denied path", origin + "/forbidden/x", "", ""},
		{"swapped", origin + "/echo", "Authorization", "Bearer " + placeholder},
		{"misplaced", origin + "/echo", "X-Other", placeholder},
	}
	for _, one := range simple {
		it, err := get(one.url, one.header, one.value)
		run(one.name, it, err)
	}
	streams := []struct {
		name string
		call func(string) (cell, error)
	}{{"big", big}, {"events", events}, {"upload", upload}}
	for _, one := range streams {
		it, err := one.call(origin)
		run(one.name, it, err)
	}
}
