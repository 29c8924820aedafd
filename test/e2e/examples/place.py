"""Place a call by the API, send it where it should go, report how it ended: python3 place.py API MODEL TEXT."""
import json, sys, time, urllib.request

api, model, text = sys.argv[1:4]
body = {"model": model, "messages": [{"role": "user", "content": text}]}

def post(url, data):
    request = urllib.request.Request(url, json.dumps(data).encode(), {"content-type": "application/json"})
    return json.load(urllib.request.urlopen(request))

start = time.monotonic()
placed = post(api + "/v1/placements", {"body": body})
answer = post(placed["instance"]["url"] + "/v1/chat/completions", body)
outcome = {"kind": "completed", "e2eMs": (time.monotonic() - start) * 1000, "outputTokens": answer["usage"]["completion_tokens"]}
post(api + "/v1/placements/" + placed["placementId"] + "/outcome", outcome)
print(placed["instance"]["name"], answer["choices"][0]["message"]["content"])
