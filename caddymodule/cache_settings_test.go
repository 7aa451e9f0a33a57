package caddymodule

import "testing"

func TestUploadRoomIsASixteenthOfMaxSizeUnlessItIsSet(t *testing.T) {
	size := func(bytes int64) *int64 { return &bytes }
	for name, test := range map[string]struct {
		cache *Cache
		want  int64 // -1 for an error
	}{
		"nothing set":   {nil, 640 << 20},
		"max_size set":  {&Cache{MaxSize: 32 << 30}, 2 << 30},
		"set":           {&Cache{MaxSize: 32 << 30, UploadRoom: size(1 << 30)}, 1 << 30},
		"none":          {&Cache{UploadRoom: size(0)}, 0},
		"all":           {&Cache{UploadRoom: size(10 << 30)}, 10 << 30},
		"more than all": {&Cache{UploadRoom: size(10<<30 + 1)}, -1},
		"negative":      {&Cache{UploadRoom: size(-1)}, -1},
	} {
		t.Run(name, func(t *testing.T) {
			settings, _, err := (&Handler{Cache: test.cache}).provisionCache()
			if (err != nil) != (test.want < 0) || (err == nil && settings.limits.UploadRoom != test.want) {
				t.Errorf("%d, %v", settings.limits.UploadRoom, err)
			}
		})
	}
}
