package caddymodule

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/gitlab-edge/caddy-gitlab-packages/cache"
)

// defaultUploadRoomShare is the part of max_size that is kept for copies of uploads that GitLab hasn't taken yet: one in so
// many.
const defaultUploadRoomShare = 16

// provisionCache checks the cache's settings and fills in the defaults.
func (h *Handler) provisionCache() (storeSettings, string, error) {
	config := Cache{}
	if h.Cache != nil {
		config = *h.Cache
	}
	settings := storeSettings{
		limits:      cache.Limits{MaxSize: defaultMaxSize, Memory: defaultMemory, MinFree: defaultMinFree, MaxObject: config.MaxObject, MaxPinned: config.MaxPinned},
		verifyEvery: time.Duration(config.VerifyEvery),
		verifyRate:  defaultVerifyRate,
	}
	limits := &settings.limits
	if config.MaxSize != 0 {
		limits.MaxSize = config.MaxSize
	}
	limits.UploadRoom = limits.MaxSize / defaultUploadRoomShare
	if config.UploadRoom != nil {
		limits.UploadRoom = *config.UploadRoom
	}
	if config.Memory != nil {
		limits.Memory = *config.Memory
	}
	if config.MinFree != nil {
		limits.MinFree = *config.MinFree
	}
	if config.VerifyRate != 0 {
		settings.verifyRate = config.VerifyRate
	}
	if limits.MaxSize < 0 || limits.Memory < 0 || limits.MaxObject < 0 || limits.MaxPinned < 0 || limits.MinFree < 0 || limits.UploadRoom < 0 {
		return settings, "", errors.New("the cache's sizes must not be negative")
	}
	if settings.verifyEvery < 0 || settings.verifyRate < 0 {
		return settings, "", errors.New("verify_every and verify_rate must not be negative")
	}
	if limits.MaxObject > limits.MaxSize {
		return settings, "", fmt.Errorf("max_object (%s) is more than max_size (%s)", sizeText(limits.MaxObject), sizeText(limits.MaxSize))
	}
	if limits.MaxPinned > limits.MaxSize {
		return settings, "", fmt.Errorf("max_pinned (%s) is more than max_size (%s)", sizeText(limits.MaxPinned), sizeText(limits.MaxSize))
	}
	if limits.UploadRoom > limits.MaxSize {
		return settings, "", fmt.Errorf("upload_room (%s) is more than max_size (%s)", sizeText(limits.UploadRoom), sizeText(limits.MaxSize))
	}
	if config.SharedStore != nil {
		if _, err := config.SharedStore.config(); err != nil {
			return settings, "", err
		}
		settings.shared = config.SharedStore.settings()
		limits.KeepsOwed = config.SharedStore.Direction != directionRead
	}
	directory := config.Directory
	if directory == "" {
		directory = filepath.Join(caddy.AppDataDir(), "gitlab_packages")
	}
	directory, err := realDirectory(directory)
	if err != nil {
		return settings, "", fmt.Errorf("cache directory: %w", err)
	}
	return settings, directory, nil
}

// fullMemory is how much memory it takes for files of up to 256 KiB to be held there: no file takes more than a 64th.
const fullMemory = 16 << 20

// warnOfSmallMemory tells, also at `caddy validate`, that files which could be held in memory won't be.
func (h *Handler) warnOfSmallMemory(settings storeSettings) {
	if memory := settings.limits.Memory; memory > 0 && memory < fullMemory {
		h.logger.Warn("memory is less than 16 MiB, so that larger files than this are always read from the disk", zap.String("memory", sizeText(memory)),
			zap.String("largest_file_in_memory", sizeText(memory/(fullMemory/(256<<10)))))
	}
}

// realDirectory is the absolute path of a directory without symbolic links, so that one that two configs name by different
// paths is one. What isn't there yet is taken as it is named; empty stays empty.
func realDirectory(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	missing := ""
	for at := path; ; at = filepath.Dir(at) {
		if found, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(found, missing), nil
		}
		if at == filepath.Dir(at) {
			return path, nil
		}
		missing = filepath.Join(filepath.Base(at), missing)
	}
}
